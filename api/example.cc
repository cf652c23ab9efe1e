// Saves a checkpoint, opens it, reads parts and all of it, verifies it, and
// converts it to a .pt for torch.load. Runs as a test.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "api/penstock.h"

namespace {

using penstock::Tensor;
using penstock::Value;

// Where files go: a test's own folder, or the current one.
std::string PathOf(const std::string& name) {
  const char* directory = std::getenv("TEST_TMPDIR");
  return directory == nullptr ? name : std::string(directory) + "/" + name;
}

// Your bytes, adopted without a copy: they must outlive the tensor.
Tensor FromFloats(std::vector<float>& values, std::vector<int64_t> shape) {
  auto bytes = absl::MakeSpan(reinterpret_cast<uint8_t*>(values.data()),
                              values.size() * sizeof(float));
  return *Tensor::Make(penstock::Storage::Adopt(bytes, nullptr),
                       penstock::DType::kFloat32, std::move(shape));
}

absl::Status Example() {
  // A checkpoint is a tree. Here: {"epoch": 3, "model": {"weight": ..., ...}}.
  std::vector<float> values(1024 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.001f * i;
  const Tensor weight = FromFloats(values, {1024, 64});

  penstock::GraphBuilder b;
  const penstock::NodeId root = b.Dict();
  const penstock::NodeId model = b.Dict();
  const penstock::NodeId weight_node = b.Tensor(weight);
  absl::Status added = b.SetItem(root, b.Str("epoch"), b.Int(3));
  added.Update(b.SetItem(root, b.Str("model"), model));
  added.Update(b.SetItem(model, b.Str("weight"), weight_node));
  added.Update(b.SetItem(model, b.Str("tied"), weight_node));  // stored once
  if (!added.ok()) return added;
  absl::StatusOr<Value> checkpoint = std::move(b).Finish(root);
  if (!checkpoint.ok()) return checkpoint.status();

  // Save: atomic, durable, compressed, checksummed.
  const std::string path = PathOf("example.pstk");
  absl::StatusOr<penstock::SaveReport> saved =
      penstock::Save(*checkpoint, path);
  if (!saved.ok()) return saved.status();
  std::printf("saved %lld bytes of tensors in %lld\n",
              static_cast<long long>(saved->raw_bytes),
              static_cast<long long>(saved->file_bytes));

  // Open: the tree is there at once, bytes are read when asked for.
  absl::StatusOr<penstock::Checkpoint> file = penstock::Checkpoint::Open(path);
  if (!file.ok()) return file.status();
  std::printf("epoch %lld\n",
              static_cast<long long>(file->root().Find("epoch").AsInt()));
  for (const penstock::NamedTensor& entry : file->state_dict().entries()) {
    std::printf("%s\n", entry.name.c_str());
  }

  // Rows 16 to 32 of one tensor: only the chunks that hold them are read.
  absl::StatusOr<Tensor> rows = file->ReadRows("model.weight", 16, 32);
  if (!rows.ok()) return rows.status();
  std::vector<float> slice(rows->num_elements());
  absl::Status copied = rows->CopyTo(absl::MakeSpan(
      reinterpret_cast<uint8_t*>(slice.data()), slice.size() * sizeof(float)));
  if (!copied.ok()) return copied;
  if (slice[0] != values[16 * 64]) return absl::InternalError("wrong rows");

  // Everything, verified; then the same to the last bit?
  absl::StatusOr<Value> loaded = penstock::Load(path);
  if (!loaded.ok()) return loaded.status();
  absl::Status same = penstock::Compare(*checkpoint, *loaded);
  if (!same.ok()) return same;

  // Every byte of the file against its checksum.
  absl::StatusOr<penstock::VerifyReport> verified = penstock::Verify(path);
  if (!verified.ok()) return verified.status();
  if (!verified->findings.empty()) return absl::InternalError("damaged");

  // A standard .pt: torch.load(path, weights_only=True) reads it.
  const std::string pt = PathOf("example.pt");
  return penstock::Convert(path, pt, penstock::SaveOptionsFor(pt)).status();
}

}  // namespace

int main() {
  const absl::Status status = Example();
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
