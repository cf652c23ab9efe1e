"""The report over several runs: medians, shares and ratios, and its charts."""

import pathlib
import tempfile
import unittest
import xml.etree.ElementTree

import make_report


def row(section, contender, what, seconds, size=10**9, share=None):
    result = {'section': section, 'contender': contender, 'what': what, 'bytes': size,
              'seconds': {'median': seconds, 'best': seconds / 2, 'worst': seconds * 2},
              'cpu_seconds': 0.25, 'peak_bytes': 3000000}
    if share:
        result['share_of_ceiling'] = share
    return result


def run(ours, torch, more=()):
    return {
        'machine': {'cores': 2, 'processor': 'a <processor>', 'memory_bytes': 10**9,
                    'kernel': 'a kernel', 'file_system': 'ext4', 'mount_options': 'rw'},
        'versions': {'penstock': '0.1.0', 'torch': '2.13.0'},
        'data': {'num_tensors': 3, 'bytes': 10**9}, 'rounds': 7, 'threads': 2,
        'seed': 1, 'seconds': 100, 'checks_passed': 21, 'verdict': 'Verdict.',
        'notes': [], 'ceilings': {'copy': 8e9, 'write': 4e9, 'read': 2e9},
        'rows': [row('save', 'penstock .pt', 'durable', ours, share=0.25 / ours),
                 row('save', 'torch.save', 'durable', torch),
                 row('load warm', 'penstock .pt', 'mapped, verified', ours),
                 row('load warm', 'torch.load', 'new memory', torch),
                 row('open', 'penstock .pt', 'warm', 0.002, 0), *more],
    }


class MakeReportTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        make_report.OUT = pathlib.Path(folder.name)

    def lines_of(self, runs):
        make_report.report(runs, 'the command')
        return (make_report.OUT / 'results.md').read_text(encoding='utf-8').split('\n')

    def test_medians_are_of_runs_and_ratios_within_each(self):
        runs = [run(0.5, 1.0), run(0.25, 2.0), run(1.0, 1.0)]
        lines = self.lines_of(runs)
        self.assertIn('| **penstock .pt** | durable | 2.00 | 1.00 - 4.00 | 8.00, 0.50 '
                      '| 50% (25% - 100%) | 2.00 | 0.25 | 3 |', lines)
        # A peer that loads in one way stands for each of ours.
        self.assertIn('| **penstock .pt** | mapped, verified | 2.00 | 1.00 - 4.00 '
                      '| 8.00, 0.50 | - | 2.00 | 0.25 | 3 |', lines)
        self.assertIn('| **penstock .pt** | warm | 2.00 | 2.00 - 2.00 | 1.00, 4.00 '
                      '| - | 0.25 | 3 |', lines)
        self.assertIn('    the command', lines)
        self.assertIn('63 results', ' '.join(lines))

    def test_charts_are_xml_with_a_bar_for_each_rate(self):
        self.lines_of([run(0.5, 1.0)])
        names = sorted(path.name for path in make_report.OUT.glob('*.svg'))
        self.assertEqual(names, ['load-warm.svg', 'save.svg'])
        for name in names:
            root = xml.etree.ElementTree.parse(make_report.OUT / name).getroot()
            bars = [element for element in root.iter()
                    if element.get('class') in ('ours', 'peer')]
            self.assertEqual(len(bars), 2)

    def test_rows_that_a_run_lacks_are_left_out(self):
        extra = row('convert', 'cp', 'a .pt, fsync', 1.0)
        lines = self.lines_of([run(0.5, 1.0, [extra]), run(0.5, 1.0)])
        self.assertFalse([line for line in lines if 'fsync' in line])


if __name__ == '__main__':
    unittest.main()
