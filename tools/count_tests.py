"""Counts the test cases of Bazel runs.

    count_tests.py EVENTS...

EVENTS are files that `bazel test --build_event_json_file` wrote. The last line
printed is `N passed, N failed`; skipped cases count as neither and are named
before it. The exit status is 0 only if something passed and nothing failed.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree


def cases_of(path):
    """Yields (name, 'passed' | 'failed' | 'skipped') from a test.xml."""
    for case in xml.etree.ElementTree.parse(path).iter('testcase'):
        name = f'{case.get("classname", "")}.{case.get("name", "")}'.strip('.')
        if case.find('failure') is not None or case.find('error') is not None:
            yield name, 'failed'
        elif (case.find('skipped') is not None or case.get('status') == 'notrun' or
              case.get('result') in ('skipped', 'suppressed')):
            yield name, 'skipped'
        else:
            yield name, 'passed'


def cases_of_result(label, result):
    """The cases of one test target; one that died without a word failed once."""
    cases = []
    for output in result.get('testActionOutput', ()):
        if output.get('name') == 'test.xml':
            try:
                path = urllib.parse.unquote(urllib.parse.urlparse(output['uri']).path)
                cases = list(cases_of(path))
            except (OSError, xml.etree.ElementTree.ParseError):
                pass
    passed = result.get('status') in ('PASSED', 'FLAKY')
    if not passed and not any(outcome == 'failed' for _, outcome in cases):
        cases.append((result.get('status', 'no status'), 'failed'))
    elif passed and not cases:
        cases.append(('all', 'passed'))
    return [(f'{label} {name}', outcome) for name, outcome in cases]


def cases_of_run(path):
    """All cases in one file of events; a target that did not build failed once."""
    results, cases, finished = {}, [], False
    with open(path, encoding='utf-8') as file:
        for line in file:
            event = json.loads(line)
            key = event['id']
            if 'testResult' in event:
                # A retry comes later under the same key.
                which = {k: v for k, v in key['testResult'].items() if k != 'attempt'}
                results[json.dumps(which, sort_keys=True)] = (
                    key['testResult']['label'], event['testResult'])
            elif 'targetCompleted' in key and not event.get('completed', {}).get('success'):
                cases.append((f'{key["targetCompleted"]["label"]} does not build', 'failed'))
            elif 'finished' in event:
                finished = True
                code = event['finished'].get('exitCode', {}).get('name', '')
                if code not in ('SUCCESS', 'TESTS_FAILED', 'BUILD_FAILURE'):
                    cases.append((f'Bazel ended with {code}', 'failed'))
    for label, result in results.values():
        cases += cases_of_result(label, result)
    if not finished:
        cases.append((f'{path}: Bazel did not finish', 'failed'))
    return cases


def main(paths):
    cases = [case for path in paths for case in cases_of_run(path)]
    for wanted in ('skipped', 'failed'):
        for name, outcome in cases:
            if outcome == wanted:
                print(f'{wanted}: {name}')
    passed = sum(outcome == 'passed' for _, outcome in cases)
    failed = sum(outcome == 'failed' for _, outcome in cases)
    print(f'{passed} passed, {failed} failed')
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
