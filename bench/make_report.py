"""Makes docs/benchmarks/: `penstock bench` several times, as tables and charts.

    python3 bench/make_report.py --dir /big/disk            # 3 runs of 7 rounds
    python3 bench/make_report.py --from a.json b.json c.json  # of runs made before

Run it from a clean checkout of what is to be measured, on a machine that does
nothing else. Each run is one interleaved `penstock bench` against its peers, in
an order of its own; `--apart` minutes lie between them, because a shared disk
has good and bad ones. It writes

    docs/benchmarks/run-N.json   what run N measured, every round of it
    docs/benchmarks/results.md   medians over the runs
    docs/benchmarks/*.svg        the same as bars
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / 'docs' / 'benchmarks'
PEERS = 'torch,safetensors,zipnn,cp,zstd'

# Section of penstock.bench/1, its title, and the peer that stands for it: rows
# of the same section are compared with it, by what they do.
SECTIONS = [
    ('save', 'Saving', 'torch.save'),
    ('load cold', 'Loading, cold', 'torch.load'),
    ('load warm', 'Loading, warm', 'torch.load'),
    ('part', 'A part of a cold file', 'torch.load mmap=True'),
    ('convert', 'Converting a warm .pt, a process of its own', None),
    ('open', 'Opening', None),
]
CEILINGS = [('copy', 'Copying in memory'), ('write', 'Writing'),
            ('read', 'Reading, cold')]


class Row:
    """One row of all runs. Rates in GB/s, or milliseconds where it has none."""

    def __init__(self, rows):
        self.section = rows[0]['section']
        self.contender = rows[0]['contender']
        self.what = rows[0]['what']
        self.is_rate = rows[0]['bytes'] > 0
        seconds = [row['seconds'] for row in rows]
        if self.is_rate:
            self.medians = [row['bytes'] / s['median'] * 1e-9
                            for row, s in zip(rows, seconds)]
            self.best = max(row['bytes'] / s['best'] * 1e-9
                            for row, s in zip(rows, seconds))
            self.worst = min(row['bytes'] / s['worst'] * 1e-9
                             for row, s in zip(rows, seconds))
        else:
            self.medians = [s['median'] * 1e3 for s in seconds]
            self.best = min(s['best'] for s in seconds) * 1e3
            self.worst = max(s['worst'] for s in seconds) * 1e3
        self.median = statistics.median(self.medians)
        self.shares = [row['share_of_ceiling'] for row in rows
                       if 'share_of_ceiling' in row]
        self.cpu = statistics.median(row['cpu_seconds'] for row in rows)
        self.memory = max(row['peak_bytes'] for row in rows)

    @property
    def ours(self):
        return self.contender.startswith('penstock')


def combined(runs):
    """Rows that every run has, in the order of the first."""
    rows = []
    for row in runs[0]['rows']:
        key = (row['section'], row['contender'], row['what'])
        same = [other for run in runs for other in run['rows']
                if (other['section'], other['contender'], other['what']) == key]
        if len(same) == len(runs):
            rows.append(Row(same))
    return rows


def counterpart(row, peer, rows):
    """The peer's row that does what `row` does."""
    own = [other for other in rows
           if other.section == row.section and other.contender == peer]
    for other in own:
        if other.what == row.what:
            return other
    # It loads in one way only.
    return own[0] if len(own) == 1 and own[0].is_rate else None


def spread(values, form):
    low, high = min(values), max(values)
    return f'{form(low)} - {form(high)}' if len(values) > 1 else form(low)


def table(section, peer, rows):
    own = [row for row in rows if row.section == section]
    if not own:
        return ''
    unit = 'GB/s' if own[0].is_rate else 'ms'
    head = ['', '', f'{unit}, median', 'medians of the runs', 'best, worst round',
            'share of the ceiling', 'CPU s', 'memory MB']
    if peer:
        head.insert(6, f'times {peer}')
    lines = ['| ' + ' | '.join(head) + ' |', '|' + ' --- |' * len(head)]
    for row in own:
        cells = [f'**{row.contender}**' if row.ours else row.contender, row.what,
                 f'{row.median:.2f}',
                 spread(row.medians, lambda value: f'{value:.2f}'),
                 f'{row.best:.2f}, {row.worst:.2f}',
                 f'{statistics.median(row.shares):.0%}'
                 f' ({spread(row.shares, lambda value: f"{value:.0%}")})'
                 if row.shares else '-']
        if peer:
            other = counterpart(row, peer, rows)
            cells.append(f'{times(row, other):.2f}'
                         if other and row.ours else '-')
        cells += [f'{row.cpu:.2f}', f'{row.memory * 1e-6:.0f}']
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def times(row, other):
    """Median over the runs of the ratio within each."""
    return statistics.median(a / b for a, b in zip(row.medians, other.medians))


def escaped(text):
    return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def chart(title, rows, ceiling):
    label, width, step, top = 330, 420, 20, 52
    scale = max([row.best for row in rows] + [ceiling or 0])

    def x(value):
        return label + width * value / scale

    height = top + step * len(rows) + 12
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{label + width + 90}" '
             f'height="{height}" viewBox="0 0 {label + width + 90} {height}">',
             '<style>text{font:12px sans-serif;fill:#222}.t{font-weight:bold;'
             'font-size:14px}.l{text-anchor:end}.c{font-size:10px;fill:#b00}'
             '.ours{fill:#2f6db5}.peer{fill:#9a9a9a}.s{stroke:#222}'
             '.d{stroke:#b00;stroke-dasharray:4 3}</style>',
             f'<rect width="{label + width + 90}" height="{height}" fill="#fff"/>',
             f'<text x="8" y="24" class="t">{escaped(title)}, GB/s: median of the '
             'runs, best and worst round</text>']
    for i, row in enumerate(rows):
        y = top + step * i
        middle = y + step / 2
        kind = 'ours' if row.ours else 'peer'
        parts += [
            f'<text x="{label - 6}" y="{middle + 4}" class="l">'
            f'{escaped(row.contender)}, {escaped(row.what)}</text>',
            f'<rect x="{label}" y="{y + 3}" width="{x(row.median) - label:.1f}" '
            f'height="{step - 6}" class="{kind}"/>',
            f'<line x1="{x(row.worst):.1f}" y1="{middle}" x2="{x(row.best):.1f}" '
            f'y2="{middle}" class="s"/>',
            f'<text x="{x(row.best) + 5:.1f}" y="{middle + 4}">'
            f'{row.median:.2f}</text>']
    if ceiling:
        parts += [f'<line x1="{x(ceiling):.1f}" y1="{top - 4}" x2="{x(ceiling):.1f}" '
                  f'y2="{height - 10}" class="d"/>',
                  f'<text x="{x(ceiling):.1f}" y="{top - 7}" class="c">ceiling '
                  f'{ceiling:.2f}</text>']
    return '\n'.join(parts + ['</svg>', ''])


def report(runs, command):
    rows = combined(runs)
    machine, data = runs[0]['machine'], runs[0]['data']
    versions = ', '.join(f'{name} {version}'
                         for name, version in runs[0]['versions'].items())
    text = [
        '# Results', '',
        'Made by `bench/make_report.py`; [../BENCHMARKS.md](../BENCHMARKS.md) says '
        'how it measures and what was learnt.', '',
        f'{machine["cores"]} cores of {machine["processor"]}, '
        f'{machine["memory_bytes"] * 1e-9:.0f} GB, {machine["kernel"]}, '
        f'{machine["file_system"]} ({machine["mount_options"]}). {versions}. '
        f'{data["num_tensors"]} tensors, {data["bytes"] * 1e-9:.3f} GB of bf16; '
        f'{len(runs)} runs of {runs[0]["rounds"]} rounds, {runs[0]["threads"]} '
        f'threads. {sum(run["checks_passed"] for run in runs)} results were compared '
        'with what was saved, all equal.', '',
        f'    {command}', '',
        'GB = 1e9 bytes of tensors. A median is that of the medians of the runs; '
        'shares and ratios are formed within each run. "Times" a peer: against '
        'its row that does the same.', '']
    for section, title in CEILINGS:
        text += [f'## Ceiling: {title}', '', table(section, None, rows)]
    for section, title, peer in SECTIONS:
        own = [row for row in rows if row.section == section]
        if not own:
            continue
        text += [f'## {title}', '']
        bars = [row for row in own if row.is_rate]
        if bars:
            kind = {'load cold': 'read', 'load warm': 'copy', 'save': 'write',
                    'convert': 'write'}.get(section)
            ceiling = statistics.median(
                run['ceilings'][kind] * 1e-9 for run in runs) if kind else None
            name = section.replace(' ', '-') + '.svg'
            (OUT / name).write_text(chart(title, bars, ceiling), encoding='utf-8')
            text += [f'![{title}]({name})', '']
        text += [table(section, peer, rows)]
    for number, run in enumerate(runs, 1):
        text += [f'Run {number}: {run["seconds"]:.0f} s, seed {run["seed"]}. '
                 f'{run["verdict"]}'] + [f'Note: {note}' for note in run['notes']]
        text.append('')
    (OUT / 'results.md').write_text('\n'.join(text), encoding='utf-8')


def measured(arguments):
    """The runs, and the command of each."""
    options = ['--size', arguments.size, '--rounds', str(arguments.rounds),
               '--against', arguments.against]
    texts = []
    for number in range(1, arguments.runs + 1):
        if number > 1:
            time.sleep(60 * arguments.apart)
        with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
            path = pathlib.Path(folder).resolve() / 'run.json'
            subprocess.run(
                [ROOT / 'bazelw', 'run', '--noshow_progress', '//cli:penstock', '--',
                 'bench', *options, '--dir', path.parent, '--json', path],
                check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            texts.append(path.read_text(encoding='utf-8'))
        print(f'run {number} of {arguments.runs} done', file=sys.stderr)
    # Only now: a tree with changes would be no commit.
    for number, text in enumerate(texts, 1):
        (OUT / f'run-{number}.json').write_text(text, encoding='utf-8')
    runs = [json.loads(text) for text in texts]
    return runs, 'penstock bench ' + ' '.join(options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--dir', default='.', help='on the disk to measure')
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--apart', type=float, default=3, help='minutes')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--size', default='1GB')
    parser.add_argument('--against', default=PEERS)
    parser.add_argument('--from', dest='files', nargs='+',
                        help='only report on these')
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.files:
        runs = [json.loads(pathlib.Path(name).read_text(encoding='utf-8'))
                for name in arguments.files]
        command = 'penstock bench'
    else:
        runs, command = measured(arguments)
    report(runs, command)


if __name__ == '__main__':
    main()
