"""docs/JSON.md names every key that `--json` prints."""

import json
import re
import unittest

import checkpoint_files as f
import cli_case
import penstock_cli

# Objects whose keys are names from the file.
MAPS = ('metadata', 'dtypes', 'objects')


def documented():
    """Schema -> what stands in backticks in its paragraphs."""
    with open(penstock_cli.runfile('docs', 'JSON.md'), encoding='utf-8') as file:
        parts = re.split(r'\*\*`(penstock\.\w+/\d+)`\*\*', file.read())
    return {schema: set(re.findall(r'`(\w+)`', text))
            for schema, text in zip(parts[1::2], parts[2::2])}


def keys_of(value):
    if isinstance(value, list):
        for item in value:
            yield from keys_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in MAPS:
                yield from keys_of(item)
            elif key == 'dtypes' and isinstance(item, dict):
                yield from keys_of(list(item.values()))


class JsonDocumentTest(cli_case.CliTestCase):

    def test_every_key_is_documented(self):
        self.write('a.pt', f.with_pickle(
            f.dictionary(w=f.tensor(f.storage()), n=2**70, evil=f.call('os', 'getcwd'))))
        self.write('b.pt', f.with_pickle(f.dictionary(w=f.tensor(f.storage()), m=1),
                                         storages={'0': f.FLOATS[::-1]}))
        self.write('none.pt', b'')
        self.must('convert', 'a.pt', 'a.pstk')
        seen = set()
        for arguments in (('ls', 'a.pt'), ('info', 'a.pstk'), ('info', '--depth', '0', 'a.pt'),
                          ('cat', 'a.pt', 'w'), ('extract', 'a.pt', '*', '-o', 'x'),
                          ('verify', 'a.pt'), ('diff', 'a.pt', 'b.pt'), ('doctor', 'a.pt'),
                          ('scan', 'a.pt', 'none.pt', 'missing.pt')):
            with self.subTest(arguments):
                told = json.loads(self.run_command(*arguments, '--json').stdout)
                seen.add(told['schema'])
                known = documented()[told['schema']] | {'schema'}
                self.assertEqual(set(keys_of(told)) - known, set())
        self.assertEqual(set(documented()) - seen, {'penstock.bench/1'})


if __name__ == '__main__':
    unittest.main()
