"""What tests of the command share: a folder of their own, and what they claim."""

import os
import re
import shutil
import unittest

import checkpoint_files as f
import penstock_cli


def contents_of(folder):
    """Path -> bytes, of everything below `folder`."""
    result = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, 'rb') as file:
                result[os.path.relpath(path, folder)] = file.read()
    return result


class CliTestCase(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(512 << 20)
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        return f.write(self.path(name), data)

    def read(self, name):
        with open(self.path(name), 'rb') as file:
            return file.read()

    def names(self):
        return sorted(os.listdir(self.folder))

    def run_command(self, *arguments, **options):
        options.setdefault('cwd', self.folder)
        return penstock_cli.run(*arguments, **options)

    def must(self, *arguments, **options):
        options.setdefault('cwd', self.folder)
        return penstock_cli.must(*arguments, **options)

    def fails(self, words, *arguments, code=2, **options):
        """One line that says so; nothing is left or changed."""
        before = contents_of(self.folder)
        done = self.run_command(*arguments, **options)
        message = penstock_cli.text_of(done.stderr)
        self.assertEqual(done.returncode, code, message)
        self.assertRegex(message, r'\Apenstock: [^\n]+\n\Z')
        self.assertRegex(message, re.compile(words, re.I))
        after = contents_of(self.folder)
        self.assertEqual(sorted(before), sorted(after))
        self.assertEqual(before, after)
        return message
