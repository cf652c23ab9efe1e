// NpzSink: writes an .npz file that numpy.load reads.

#ifndef PENSTOCK_COMPAT_NPZ_SINK_H_
#define PENSTOCK_COMPAT_NPZ_SINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/derived_source.h"
#include "codec/plan.h"
#include "compat/foreign_sink.h"
#include "compat/layout_sink.h"
#include "compat/zip_layout.h"
#include "core/file.h"
#include "core/state_dict.h"
#include "core/value.h"

namespace penstock {

// An .npz: stored records NAME.npy, one for each tensor, in the order and with
// the names of StateDict::FromValue; arrays in C order, little-endian, their
// first byte at a multiple of 64 in the file. Sizes are known before the first
// byte: a pipe will do. CRCs are taken in parallel and combined in order.
//
// Thread-safe as Sink says.
class NpzSink : public LayoutSink {
 public:
  // Lays the file out; writes nothing yet. `file` is new and outlives the sink.
  // The pump's plan must be plan(), its source a DerivedSource of derivations()
  // over that of `root`.
  //
  // What an .npz cannot say is in warnings(): values that are no tensors, ties.
  //
  // Errors:
  //   kInvalidArgument    no tensors; tensors whose dtype numpy lacks
  //                       (bfloat16...) or whose name no record may have
  //                       (zip_name.h): one error that names them all, and the
  //                       options that help
  //   kResourceExhausted  ZipLayout's and StateDict's limits
  static absl::StatusOr<std::unique_ptr<NpzSink>> Create(WritableFile& file,
                                                         const Value& root);

  // The arrays that are not whole storages, or not as they lie there.
  const std::vector<Derivation>& derivations() const { return derivations_; }

 private:
  explicit NpzSink(WritableFile& file)
      : LayoutSink(file), zip_(kDefaultRecordAlignment) {}

  // Everything but the glue's bytes.
  absl::StatusOr<FileLayout> LayOut(const StateDict& tensors);
  // The next run of glue: what follows the numbers of the array before
  // `next_array_`, and what precedes its own.
  void AppendNextGlue();

  ZipLayout zip_;
  std::vector<std::string> headers_;  // by array
  std::vector<Derivation> derivations_;

  int64_t next_array_ = 0;
  std::string glue_;  // made and not yet written
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NPZ_SINK_H_
