"""What has to be true of every file that the differential test writes.

A judge gets (case, truth, path, counts): what torch reads from the original, the
file to judge, and a Counter for figures. It raises Complaint or Difference.
"""

import deep_compare


class Complaint(Exception):
    pass


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def require_done(case, step):
    well, remark = case.outcome[step]
    if not well:
        raise Complaint(remark)


def native(case, _truth, _path, _counts):
    require_done(case, 'native')


def anew(case, truth, path, counts):
    """torch reads the same; where conversion.md 2 says so, from the same bytes."""
    require_done(case, 'anew')
    deep_compare.require_same(truth, case.load(path))
    if case.mmap:
        deep_compare.require_same(case.load(mmap=True), case.load(path, mmap=True))
    same = read(path) == read(case.path('original'))
    asked = case.exact and case.safe
    counts['byte for byte torch.save\'s, ' + (
        'as they have to be' if asked else 'of the others')] += same
    if asked and not same:
        raise Complaint('other bytes than torch.save wrote')


JUDGES = {
    'native': native,
    'anew': anew,
}
