// Penstock's own contenders.

#ifndef PENSTOCK_BENCH_CONTENDERS_H_
#define PENSTOCK_BENCH_CONTENDERS_H_

#include <memory>
#include <string>
#include <vector>

#include "bench/arena.h"
#include "bench/contender.h"

namespace penstock::bench {

// Saving under a new name (until the kernel has every byte, and until it is
// durable) and over an existing file.
std::vector<Contender> SaveContenders(const std::shared_ptr<Arena>& arena);

// Loading cold and warm: into new memory, into the caller's, mapped; all
// verified. One of `idle`: warm into new memory, after 7 s without any work.
std::vector<Contender> LoadContenders(const std::shared_ptr<Arena>& arena);
std::vector<Contender> IdleContenders(const std::shared_ptr<Arena>& arena);

// The largest tensor alone, and a tenth of its rows, from a cold file.
std::vector<Contender> PartContenders(const std::shared_ptr<Arena>& arena);

// `program convert` as a process of its own, from a warm .pt to a new name.
std::vector<Contender> ConvertContenders(const std::shared_ptr<Arena>& arena,
                                         const std::string& program);

// Opening, warm: this checkpoint, and one of 100,000 tensors.
std::vector<Contender> OpenContenders(const std::shared_ptr<Arena>& arena);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_CONTENDERS_H_
