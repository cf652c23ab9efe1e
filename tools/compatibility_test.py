"""Every line of docs/COMPATIBILITY.md and docs/CASES.md names tests that exist.

A test is named `Suite.Name` (gtest) or `module.test_name` (Python's unittest), in
backquotes, in the last column of a table.
"""

import os
import re
import unittest

NAME = re.compile(r'`(\w+\.\w+)`')


def tests_of(root):
    """All names of tests in the source tree."""
    names = set()
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f[0] != '.' and not f.startswith('bazel-')]
        for file in files:
            if not re.search(r'(_test|/example)\.(cc|py)$', file):
                continue
            with open(os.path.join(folder, file), encoding='utf-8') as source:
                text = source.read()
            names |= {'.'.join(pair) for pair in re.findall(
                r'^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)', text, flags=re.M)}
            names |= {f'{file[:-3]}.{name}' for name in re.findall(
                r'^    def (test_\w+)\(', text, flags=re.M)}
    return names


def rows_of(text):
    """(line number, cells) of the tables' rows, without their heads."""
    head = True
    for number, line in enumerate(text.split('\n'), 1):
        if not line.startswith('|'):
            head = True
        elif re.fullmatch(r'\|[ |:-]+\|', line):
            head = False
        elif not head:
            yield number, [cell.strip() for cell in line.strip('|').split(' | ')]


def check(text, tests):
    complaints = []
    for number, cells in rows_of(text):
        named = NAME.findall(cells[-1])
        if not named:
            complaints.append(f'line {number}: no test for {cells[0]}')
        complaints += [f'line {number}: no such test: {name}'
                       for name in named if name not in tests]
    return complaints


class CompatibilityTest(unittest.TestCase):

    def test_every_line_names_tests_that_exist(self):
        here = os.path.join(os.environ['TEST_SRCDIR'], os.environ['TEST_WORKSPACE'])
        root = os.path.dirname(os.path.realpath(os.path.join(here, 'WORKSPACE')))
        tests = tests_of(root)
        for page in ('docs/COMPATIBILITY.md', 'docs/CASES.md'):
            with self.subTest(page):
                with open(os.path.join(root, page), encoding='utf-8') as file:
                    text = file.read()
                self.assertGreater(len(list(rows_of(text))), 40)
                complaints = check(text, tests)
                self.assertFalse(complaints, '\n' + '\n'.join(complaints))

    def test_missing_and_wrong_names_are_found(self):
        text = ('| what | test |\n| --- | --- |\n| a | `S.Here` |\n| b | |\n'
                '| c | `S.Gone`, `S.Here` |\n')
        self.assertEqual(check(text, {'S.Here'}), [
            'line 4: no test for b', 'line 5: no such test: S.Gone'])


if __name__ == '__main__':
    unittest.main()
