"""Holds the source tree to what CONTRIBUTING.md asks and a machine can see."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

# Aim for less: headers under 250 lines, .cc under 500, functions under 40.
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
SUFFIXES = ('.h', '.cc', '.cu')
LIBRARIES = ('core', 'codec', 'gpu', 'compat', 'api')

# (what it is, pattern, where it may stand: paths or folders with a '/'); a test may
# use a library to check the code that wraps it.
HOMES = (
    ('zstd', r'#include\s*[<"]zstd', ('codec/compressor.cc', 'bench/')),
    ('TBB', r'#include\s*[<"](oneapi/)?tbb/', ('codec/pipeline.cc', 'bench/')),
    ('xxHash', r'#include\s*[<"]xx(h3|hash|h_)', ('core/checksum.cc', 'bench/')),
    ('ISA-L CRC', r'#include\s*[<"]isa-l(\.h|/crc)', ('core/checksum.cc', 'bench/')),
    ('CUDA', r'#include\s*[<"](cuda|driver_types)', ('gpu/',)),
    ('deflate', r'#include\s*[<"]isa-l/igzip', ('compat/', 'bench/')),
)

# What a library never does: people and processes belong to cli/.
LIBRARY_BANS = (
    ('<iostream>', r'#include\s*<iostream>'),
    ('getenv', r'(?<![\w.>])(secure_)?getenv\s*\('),
    ('exit or abort', r'(?<![\w.>])(_exit|exit|quick_exit|abort)\s*\('),
    ('printf', r'(?<![\w.>])(f|v|vf)?printf\s*\('),
    ('throw', r'(?<!\w)throw\b'),
)
# Where a ban does not reach: PENSTOCK_CHECK itself has to stop the process, and
# the example is a program.
BAN_EXCEPTIONS = {'core/status_macros.cc': ('exit or abort', 'printf'),
                  'api/example.cc': ('getenv', 'printf')}

NOT_A_FUNCTION = re.compile(
    r'\s*(namespace|class|struct|enum|union|extern "C"|typedef|[})#])')


def blank(match):
    """The text of `match` without its content, lines kept."""
    return '""' + '\n' * match.group(0).count('\n')


def without_strings(text):
    text = re.sub(r'R"([^\s()\\]{0,16})\(.*?\)\1"', blank, text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"|(?<![\w\'])\'(\\.|[^\'\\\n])+\'', '""', text)


def code_of(text):
    """`text` without comments and strings, except those of #include lines."""
    lines = [line if line.startswith('#include') else None
             for line in text.split('\n')]
    text = re.sub(r'/\*.*?\*/', blank, without_strings(text), flags=re.S)
    bare = re.sub(r'//[^\n]*', '', text).split('\n')
    return '\n'.join(a or b for a, b in zip(lines, bare))


def long_functions(code):
    """First lines of functions over the limit, which clang-format makes easy:
    one begins at an indent of 0 or 2 and ends in a lone '}' at the same."""
    start = {0: None, 2: None}
    for number, line in enumerate(code.split('\n'), 1):
        indent = len(line) - len(line.lstrip())
        if indent not in start or not line.strip():
            continue
        begin = start[indent]
        if re.fullmatch(r'\s*}', line.rstrip()):
            if begin and number - begin + 1 > MAX_FUNCTION_LINES:
                yield begin
            start[indent] = None
        elif NOT_A_FUNCTION.match(line):
            start[indent] = None
        else:
            start[indent] = number


def allowed(path, homes):
    return any(path == h or (h.endswith('/') and path.startswith(h)) for h in homes)


def check_text(path, text):
    """Yields (line number, complaint) for one file."""
    folder = path.split('/')[0]
    code = code_of(text)

    def find(pattern, where):
        for match in re.finditer(pattern, where):
            yield where.count('\n', 0, match.start()) + 1

    num_lines = text.count('\n')
    if num_lines > MAX_FILE_LINES:
        yield num_lines, f'{num_lines} lines; the limit is {MAX_FILE_LINES}'
    for line in long_functions(code):
        yield line, f'function over {MAX_FUNCTION_LINES} lines'
    for line in find(r'\b(TO' + r'DO|FIX' + r'ME)\b', text):
        yield line, 'an open end: finish it'
    for line in find(r'(?<![\w./])/(wo' + r'rk|ro' + r'ot|ho' + r'me)/', text):
        yield line, 'a path of one machine'
    if path.endswith('.h'):
        for line in find(r'std::string_view', code):
            yield line, 'std::string_view in an interface: use absl::string_view'
        guard = 'PENSTOCK_' + re.sub(r'[/.]', '_', path).upper() + '_'
        if f'#ifndef {guard}\n#define {guard}\n' not in text:
            yield 1, f'include guard is not {guard}'
        if not re.search(r'^ *//', text, flags=re.M):
            yield 1, 'no comment: a header is its own documentation'
    is_test = '_test.' in path or '/testing/' in path
    for name, pattern, homes in HOMES:
        if not is_test and not allowed(path, homes):
            for line in find(pattern, code):
                yield line, f'{name} belongs to {homes[0]}'
    if folder in LIBRARIES and not is_test:
        for name, pattern in LIBRARY_BANS:
            if name not in BAN_EXCEPTIONS.get(path, ()):
                for line in find(pattern, code):
                    yield line, f'{name} in a library: return a Status'


def sources(root):
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f[0] != '.' and not
                            f.startswith('bazel-'))
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                yield os.path.relpath(os.path.join(folder, name), root)


def check_tree(root):
    complaints = []
    paths = list(sources(root))
    for path in paths:
        with open(os.path.join(root, path), encoding='utf-8') as file:
            complaints += [f'{path}:{line}: {what}'
                           for line, what in check_text(path, file.read())]
    formatter = shutil.which('clang-format-14') or shutil.which('clang-format')
    if formatter is None:
        return complaints + ['clang-format-14 is not installed']
    if paths:
        done = subprocess.run([formatter, '--dry-run', '-Werror', *paths], cwd=root,
                              capture_output=True, text=True, check=False)
        wrong = re.findall(r'^([^:\n]+:\d+):\d+: error:', done.stderr, flags=re.M)
        first = {line.split(':')[0]: line for line in reversed(wrong)}
        complaints += [f'{line}: not formatted: {os.path.basename(formatter)} -i '
                       f'{path}' for path, line in first.items()]
        if done.returncode and not wrong:
            complaints.append(f'{formatter}: {done.stderr}')
    return complaints


class StyleTest(unittest.TestCase):

    def test_the_tree_keeps_the_style(self):
        here = os.path.join(os.environ['TEST_SRCDIR'], os.environ['TEST_WORKSPACE'])
        root = os.path.dirname(os.path.realpath(os.path.join(here, 'WORKSPACE')))
        self.assertTrue(os.path.exists(os.path.join(root, '.clang-format')), root)
        complaints = check_tree(root)
        self.assertFalse(complaints, '\n' + '\n'.join(complaints))

    def test_a_bad_file_is_found_out(self):
        body = '  int a = 0;\n' * MAX_FUNCTION_LINES
        bad = ('#include <iostream>\n#include <zstd.h>\n'
               'void F(std::string_view s) {\n  throw "exit(";  // exit(1)\n}\n'
               'struct S {\n  int G() {\n    exit(1);\n  }\n};\n'
               f'int Long(int a,\n         int b) {{\n{body}}}\n'
               '// TO' 'DO: /ro' 'ot/x\nint    unformatted;\n')
        with tempfile.TemporaryDirectory() as root:
            os.mkdir(os.path.join(root, 'core'))
            with open(os.path.join(root, 'core/bad.h'), 'w', encoding='utf-8') as file:
                file.write(bad)
            with open(os.path.join(root, '.clang-format'), 'w', encoding='utf-8') as file:
                file.write('BasedOnStyle: Google\n')
            found = '\n'.join(check_tree(root))
        for line, what in ((1, '<iostream>'), (2, 'zstd'), (3, 'std::string_view'),
                           (4, 'throw'), (8, 'exit'), (11, 'function over'),
                           (84, 'open end'), (84, 'path of one'), (1, 'not formatted'), (1, 'guard')):
            self.assertRegex(found, f'core/bad.h:{line}:.*{what}')
        self.assertEqual(found.count('exit or abort'), 1, found)

    def test_long_tables_and_classes_are_not_functions(self):
        table = 'constexpr int kTable[] = {\n' + '    0,\n' * 100 + '};\n'
        members = 'class C {\n' + '  int f() { return 0; }\n\n' * 60 + '};\n'
        text = f'namespace a {{\n{table}{members}int F() {{\n  return 0;\n}}\n}}  // namespace a\n'
        self.assertEqual(list(check_text('core/a.cc', text)), [])


if __name__ == '__main__':
    unittest.main()
