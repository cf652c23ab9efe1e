"""One of two processes that save a distributed checkpoint together.

    python dcp_ranks.py RANK STORE DIRECTORY

What is saved, whole, is WHOLE: the judge needs it without the processes.
"""

import sys

import torch


def whole():
    torch.manual_seed(7)
    return {
        'model': {
            'rows': torch.randn(7, 5),
            'columns': torch.randn(6, 9),
            'bf16': torch.randn(8, 3, 4).to(torch.bfloat16),
            'replicated': torch.randn(3, 3),
            'one_row': torch.randn(1, 4),
            'transposed': torch.randn(6, 4).t(),
            'scalar': torch.tensor(2.5),
            'ints': torch.arange(40).reshape(8, 5),
        },
        'optim': {'state': {0: {'step': torch.tensor(3.), 'exp_avg': torch.randn(10, 2)}},
                  'param_groups': [{'lr': 0.1, 'params': [0], 'betas': (0.9, 0.99)}]},
        'epoch': 3,
    }


def main(rank, store, directory):
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=int(rank), world_size=2)
    mesh = init_device_mesh('cpu', (2,))
    value = whole()
    model = value['model']
    for name, dim in (('rows', 0), ('columns', 1), ('bf16', 1), ('one_row', 0), ('ints', 0)):
        model[name] = distribute_tensor(model[name], mesh, [Shard(dim)])
    model['replicated'] = distribute_tensor(model['replicated'], mesh, [Replicate()])
    model['transposed'] = distribute_tensor(model['transposed'], mesh, [Shard(1)])
    state = value['optim']['state'][0]
    state['exp_avg'] = distribute_tensor(state['exp_avg'], mesh, [Shard(0)])
    dcp.save(value, checkpoint_id=directory)
    dist.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
