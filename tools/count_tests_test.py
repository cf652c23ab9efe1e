"""Tests of count_tests.py."""

import contextlib
import io
import json
import os
import tempfile
import unittest

import count_tests

XML = """<testsuites><testsuite name="S">
<testcase name="A" classname="S" status="run" result="completed"/>
<testcase name="B" classname="S" status="run"><failure message="m"/></testcase>
<testcase name="C" classname="S" status="run" result="skipped"><skipped/></testcase>
<testcase name="D" classname="S" status="notrun" result="suppressed"/>
</testsuite></testsuites>"""
FINISHED = {'id': {}, 'finished': {'exitCode': {'name': 'TESTS_FAILED'}}}


def result(label, status, path):
    return {'id': {'testResult': {'label': label, 'run': 1}},
            'testResult': {'status': status, 'testActionOutput': [
                {'name': 'test.xml', 'uri': 'file://' + path}]}}


class CountTestsTest(unittest.TestCase):

    def count(self, *events):
        """Exit status and last line for `events`, in whose place XML stands."""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, 'test.xml'), 'w', encoding='utf-8') as file:
                file.write(XML)
            path = os.path.join(folder, 'events')
            with open(path, 'w', encoding='utf-8') as file:
                for event in events:
                    file.write(json.dumps(event).replace('XML', folder + '/test.xml') + '\n')
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                status = count_tests.main([path])
        return status, output.getvalue().split('\n')[-2]

    def test_cases_are_counted_and_skipped_ones_are_not(self):
        self.assertEqual(self.count(result('//a', 'FAILED', 'XML'), FINISHED),
                         (1, '1 passed, 1 failed'))

    def test_a_crash_without_a_report_is_a_failure(self):
        self.assertEqual(self.count(result('//a', 'TIMEOUT', '/none'), FINISHED),
                         (1, '0 passed, 1 failed'))

    def test_a_passing_test_without_a_report_counts_once(self):
        self.assertEqual(self.count(result('//a', 'PASSED', '/none'), FINISHED),
                         (0, '1 passed, 0 failed'))

    def test_what_does_not_build_is_a_failure(self):
        broken = {'id': {'targetCompleted': {'label': '//b'}}, 'completed': {}}
        self.assertEqual(self.count(broken, FINISHED), (1, '0 passed, 1 failed'))

    def test_nothing_and_an_unfinished_run_are_failures(self):
        self.assertEqual(self.count(FINISHED), (1, '0 passed, 0 failed'))
        self.assertEqual(self.count(result('//a', 'PASSED', '/none')),
                         (1, '1 passed, 1 failed'))


if __name__ == '__main__':
    unittest.main()
