"""`penstock doctor`: every kind of file that people give instead of a checkpoint."""

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import re
import struct
import tarfile
import unittest
import zipfile

import checkpoint_files as f
import cli_case
import penstock_cli

# Of one float32 tensor, as torch before 1.6 wrote it.
LEGACY = (bytes.fromhex('80028a0a6cfc9c46f9206aa850192e80024de9032e') + f.pickle(b'}') +
          f.pickle(f.dictionary(w=f.tensor(
              f.item(('storage', f.class_of('torch', 'FloatStorage'), '0', 'cpu', 3, b'N')) +
              b'Q'))) + f.pickle(b']' + f.text('0') + b'a') +
          struct.pack('<q', 3) + f.FLOATS)


def safetensors(size=12, shape=(3,)):
    header = json.dumps({'w': {'dtype': 'F32', 'shape': shape, 'data_offsets': [0, size]}})
    header += ' ' * (-len(header) % 8)
    return struct.pack('<Q', len(header)) + header.encode() + f.FLOATS[:size]


def zip_of(**names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return file.getvalue()


def tar_of(**names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def torch_zip(**names):
    """Records of torch's own containers, all in one folder."""
    return f.archive([f.Entry(f'archive/{name}'.encode(), data)
                      for name, data in ({'data.pkl': f.pickle(b'}'), 'version': b'3\n'} |
                                         names).items()])


class DoctorCase(cli_case.CliTestCase):

    def diagnose(self, name, data=None, code=1):
        """The report as JSON; what is printed for people has the same words."""
        if data is not None:
            self.write(name, data)
        done = self.run_command('doctor', '--json', name)
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(done.stderr, b'')
        report = json.loads(done.stdout)
        self.assertEqual(report['schema'], 'penstock.doctor/1')
        self.assertEqual(report['file'], name)
        shown = self.run_command('doctor', name)
        self.assertEqual((shown.returncode, shown.stderr), (code, b''))
        text = penstock_cli.text_of(shown.stdout)
        self.assertTrue(text.startswith(f'{name}: {report["what"]}\n'), text)
        self.assertEqual(text.count('\n  finding  '), len(report['findings']))
        self.assertEqual(text.count('\n  next     '), len(report['advice']))
        return report

    def is_kind(self, kind, name, data=None, finding='', advice='', code=1):
        report = self.diagnose(name, data, code)
        self.assertEqual(report['kind'], kind, report)
        self.assertEqual(report['readable'], code == 0)
        self.assertRegex(' | '.join(report['findings']), re.compile(finding, re.I))
        self.assertRegex(' | '.join(report['advice']), re.compile(advice, re.I))
        return report


class OtherFilesTest(DoctorCase):

    def test_git_lfs_pointer(self):
        self.is_kind('git-lfs-pointer', 'a.pt',
                     b'version https://git-lfs.github.com/spec/v1\n'
                     b'oid sha256:4d7a214614ab\nsize 1234567890\n',
                     '1234567890 bytes.*sha256:4d7a214614ab', 'git lfs pull')

    def test_login_page(self):
        self.is_kind('html', 'a.pt', b'<!DOCTYPE html><html><head><title>Sign in</title>',
                     'Sign in', 'login')

    def test_page_not_found(self):
        self.is_kind('html', 'a.pt', b'<html><head><title>404 Not Found</title></head>',
                     '404', 'address')

    def test_error_of_a_store(self):
        self.is_kind('xml', 'a.pt', b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>'
                     b'<Message>Access Denied</Message></Error>', 'AccessDenied', 'fetch')

    def test_error_in_json(self):
        self.is_kind('json-error', 'a.pt', b'{"error":"Repository not found"}',
                     'Repository not found', 'token')

    def test_index_with_missing_shards(self):
        self.write('m-2.safetensors', safetensors())
        self.is_kind('json-index', 'model.safetensors.index.json', json.dumps({
            'metadata': {'total_size': 24},
            'weight_map': {'a': 'm-1.safetensors', 'w': 'm-2.safetensors'}}).encode(),
            'shard is missing: m-1.safetensors', 'fetch the missing')

    def test_index_that_names_files_elsewhere(self):
        self.is_kind('json-index', 'model.safetensors.index.json',
                     b'{"weight_map": {"a": "../../etc/passwd"}}', 'outside of its directory')

    def test_configuration(self):
        self.is_kind('json-config', 'config.json',
                     b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
                     '', 'weights')

    def test_other_json(self):
        self.is_kind('json', 'a.json', b'[1, 2, 3]')

    def test_empty(self):
        self.is_kind('empty', 'a.pt', b'', '', 'disk full')

    def test_zeros(self):
        self.is_kind('zeros', 'a.pt', bytes(100_000), '', 'download')
        with open(self.path('sparse.pt'), 'wb') as file:
            file.truncate(1 << 36)
        self.is_kind('zeros', 'sparse.pt')

    def test_beginning_that_was_never_written(self):
        self.is_kind('zeros', 'a.pt', bytes(100_000) + b'x' * 1000, 'first 100000 bytes')

    def test_packed_as_a_whole(self):
        data = f.checkpoint()
        for kind, packed in (('gzip', gzip.compress(data)), ('bzip2', bz2.compress(data)),
                             ('xz', lzma.compress(data)),
                             ('zstd', b'\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00'),
                             ('7z', b'7z\xbc\xaf\x27\x1c\0\4'), ('rar', b'Rar!\x1a\7\1\0')):
            with self.subTest(kind):
                self.is_kind(kind, 'a.pt', packed, '', 'first')

    def test_models_of_other_frameworks(self):
        for kind, data in (
                ('gguf', b'GGUF\3\0\0\0'), ('ggml', b'tjgg\3\0\0\0'),
                ('hdf5', b'\x89HDF\r\n\x1a\n' + bytes(100)),
                ('onnx', b'\x08\x08\x12\x07pytorch\x1a\x052.1.0' + bytes(9)),
                ('tflite', b'\x1c\0\0\0TFL3' + bytes(40)),
                ('tf-saved-model', b'\x08\x01\x12\x04\x0a\x02\x08\x01')):
            with self.subTest(kind):
                report = self.is_kind(kind, 'a.pt', data)
                self.assertIn('not a PyTorch checkpoint', report['what'])
                self.assertNotEqual(report['advice'], [])

    def test_things_that_are_no_models(self):
        for kind, data in (('elf', b'\x7fELF\2\1\1'), ('pdf', b'%PDF-1.7\n'),
                           ('png', b'\x89PNG\r\n\x1a\n'), ('jpeg', b'\xff\xd8\xff\xe0'),
                           ('text', b'Bad gateway\n'), ('unknown', bytes(range(1, 40)))):
            with self.subTest(kind):
                self.is_kind(kind, 'a.pt', data)

    def test_base64(self):
        self.is_kind('base64', 'a.pt', base64.encodebytes(f.checkpoint()), 'a zip file',
                     'base64 -d')

    def test_containers_of_torch_that_are_not_read(self):
        self.is_kind('pytorch-mobile', 'a.ptl', b'\x1c\0\0\0PTMF' + bytes(40))
        self.is_kind('pytorch1', 'a.pt', b'PYTORCH1' + bytes(100))

    def test_tar_of_torch(self):
        self.is_kind('pt-tar', 'a.pt', tar_of(sys_info=b'1', pickle=b'2', tensors=b'3',
                                              storages=b'4'), 'pickle_', 'damaged')

    def test_other_tar(self):
        self.is_kind('tar', 'a.nemo', tar_of(**{'model_weights.ckpt': b'x' * 1000}),
                     'model_weights.ckpt', 'tar xf')
        self.is_kind('tar', 'a.tar', tar_of(big=b'x' * 100_000)[:5000],
                     'bytes are missing')

    def test_bare_pickle_cut_off(self):
        data = f.pickle(f.dictionary(epoch=3, name='a name that is long enough'))
        self.is_kind('pickle', 'a.pkl', data[:-10])


class ZipTest(DoctorCase):

    def test_truncated(self):
        whole = f.model(2, 5000)
        for cut in (30_000, 20_000, 22):
            with self.subTest(cut):
                report = self.is_kind('truncated-zip', 'a.pt', whole[:len(whole) - cut],
                                      'truncated', 'fetch')
                if cut > 22:
                    missing = re.search(r'at least (\d+) bytes are missing',
                                        ' '.join(report['findings']))
                    self.assertLessEqual(int(missing[1]), cut)
                    self.assertGreater(int(missing[1]), cut - 1000)

    def test_truncated_and_filled_up_with_zeros(self):
        whole = f.model(2, 5000)
        self.is_kind('truncated-zip', 'a.pt', whole[:20_000] + bytes(len(whole) - 20_000),
                     'last 2\\d+ bytes are zeros', 'finish')

    def test_conversion_of_line_ends(self):
        body = b''.join(f.class_of('models', f'Layer{i}') + b'0' for i in range(20))
        whole = f.with_pickle(body + f.dictionary(w=f.tensor()))
        self.is_kind('damaged-zip', 'a.pt', whole.replace(b'\n', b'\r\n'), 'LF to CR LF',
                     'binary mode')

    def test_kinds(self):
        for kind, data in (
                ('pt2', torch_zip(**{'archive_format': b'pt2'})),
                ('pt2', zip_of(**{'serialized_exported_program.json': b'{}',
                                  'version': b'8.1'})),
                ('torchscript-preview', f.archive([f.Entry(b'm/version', b'2\n'),
                                                   f.Entry(b'm/model.json', b'{}')])),
                ('keras', zip_of(**{'config.json': b'{}', 'metadata.json': b'{}',
                                    'model.weights.h5': b'x'})),
                ('zip', zip_of(**{'photos/cat.jpg': b'x'}))):
            with self.subTest(kind):
                self.is_kind(kind, 'a.zip', data)

    def test_a_checkpoint_within_another_zip(self):
        self.is_kind('zip', 'a.zip', zip_of(**{'README': b'x', 'm/model.pth': f.checkpoint()}),
                     'README', 'unzip it.*m/model.pth')

    def test_encrypted(self):
        self.is_kind('encrypted-zip', 'a.zip', f.archive(f.records(data_0={'flags': 0x801})),
                     'encrypted', 'password')

    def test_packed_anew_by_a_mac(self):
        data = f.archive(f.records() + [f.Entry(b'__MACOSX/._archive', b'x')])
        self.is_kind('pt', 'a.pt', data, '__MACOSX', 'zip -d')


class DamageTest(DoctorCase):

    def test_safetensors_truncated(self):
        self.is_kind('safetensors', 'a.safetensors', safetensors()[:-5],
                     'at least 5 bytes are missing')

    def test_legacy_truncated(self):
        self.is_kind('pt-legacy', 'a.pt', LEGACY[:-7], 'at least 7 bytes are missing')

    def test_pstk_truncated(self):
        self.write('a.pt', f.model(1, 10_000))
        self.must('convert', 'a.pt', 'a.pstk')
        self.is_kind('pstk', 'b.pstk', self.read('a.pstk')[:-20], 'footer|incomplete', 'fetch')
        self.is_kind('pstk', 'c.pstk', self.read('a.pstk')[:-9000] + bytes(9000),
                     'zeros', 'finish')

    def test_text_mode(self):
        self.is_kind('text-damage', 'a.pt', LEGACY.replace(b'\n', b'\r\n'), '', 'binary mode')
        replaced = LEGACY.decode('utf-8', 'replace').encode()
        self.is_kind('text-damage', 'b.pt', replaced, '', 'binary mode')


class SoundTest(DoctorCase):

    def test_a_checkpoint_and_the_next_command(self):
        report = self.is_kind('pt', 'a.pt', f.checkpoint(), '', 'penstock verify', code=0)
        self.assertEqual((report['tensors'], report['raw_bytes'], report['unchecked_bytes']),
                         (1, 12, 0))
        self.assertIn('torch.save', report['writer'])
        self.must('convert', 'a.pt', 'a.pstk')
        report = self.is_kind('pstk', 'a.pstk', None, '', 'penstock verify', code=0)
        self.assertEqual((report['tensors'], report['unchecked_bytes']), (1, 0))

    def test_bytes_without_checksum_are_told(self):
        crc = {'local': {'crc': 0}, 'central': {'crc': 0}}
        report = self.is_kind('pt', 'a.pt', f.checkpoint(data_0=crc), code=0)
        self.assertEqual(report['unchecked_bytes'], 12)
        self.assertIn(b'no checksum', self.must('doctor', 'a.pt'))

    def test_a_download_that_goes_on(self):
        self.write('a.pt', f.checkpoint())
        for ending in ('.aria2', '.crdownload', '.part'):
            with self.subTest(ending):
                self.write('a.pt' + ending, b'')
                done = self.run_command('doctor', '--json', 'a.pt')
                self.assertEqual(done.returncode, 1)
                report = json.loads(done.stdout)
                self.assertTrue(report['readable'])
                self.assertIn(ending, report['findings'][0])
                os.unlink(self.path('a.pt' + ending))
        self.is_kind('truncated-zip', 'b.pt.crdownload', f.checkpoint()[:-30], 'Chrome',
                     'let the download finish')


class PlacesTest(DoctorCase):

    def test_directories(self):
        for kind, name, advice in (
                ('dcp-directory', '.metadata', 'fetch all files'),
                ('huggingface-directory', 'model.safetensors', 'model.safetensors'),
                ('huggingface-directory', 'pytorch_model.bin.index.json', 'index.json'),
                ('unpacked-pt', 'data.pkl', 'zip -0'),
                ('tf-saved-model-directory', 'saved_model.pb', 'TensorFlow'),
                ('directory', 'notes.txt', 'file')):
            with self.subTest(name):
                folder = f'folder of {name}'
                os.mkdir(self.path(folder))
                self.write(f'{folder}/{name}', b'x')
                self.is_kind(kind, folder, None, '', advice)

    def test_what_is_not_there(self):
        self.is_kind('missing', 'a.pt', None, 'no such file', 'check', code=2)

    def test_dangling_link(self):
        os.symlink('blobs/4d7a', self.path('a.pt'))
        self.is_kind('dangling-link', 'a.pt', None, 'blobs/4d7a', 'fetch', code=2)

    def test_pipe(self):
        os.mkfifo(self.path('pipe'))
        self.is_kind('not-a-file', 'pipe', None, 'pipe', 'file', code=2)

    def test_device(self):
        self.is_kind('not-a-file', '/dev/null', None, 'device', 'file', code=2)

    @unittest.skipIf(os.geteuid() == 0, 'root may read everything')
    def test_no_permission(self):
        self.write('a.pt', f.checkpoint())
        os.chmod(self.path('a.pt'), 0)
        self.is_kind('no-permission', 'a.pt', None, 'permission', 'owner', code=2)

    def test_names_cannot_write_to_the_terminal(self):
        self.write('a\x1b[31m.pt', b'Bad\x1bgateway')
        shown = self.run_command('doctor', 'a\x1b[31m.pt')
        self.assertNotIn(b'\x1b', shown.stdout)


if __name__ == '__main__':
    unittest.main()
