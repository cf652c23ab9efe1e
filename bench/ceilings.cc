#include "bench/ceilings.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "bench/block_io.h"
#include "bench/corpus.h"
#include "bench/descriptor.h"
#include "bench/page_cache.h"
#include "core/aligned_buffer.h"
#include "core/status_macros.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace penstock::bench {
namespace {

constexpr int64_t kMiB = 1 << 20;
// Beyond any cache; also what all blocks in flight share.
constexpr int64_t kBufferBytes = 64 * kMiB;

// Random bytes; made before the first round, so that no contender pays for
// their pages.
using BufferPtr = std::shared_ptr<AlignedBuffer>;

absl::Status Fill(AlignedBuffer& buffer) {
  if (buffer.capacity() > 0) return absl::OkStatus();
  buffer.Reserve(kBufferBytes);
  FillBytes(1, absl::MakeSpan(buffer.data(), kBufferBytes));
  return absl::OkStatus();
}

Row RowOf(Section section, std::string contender, std::string what,
          int64_t bytes) {
  Row row;
  row.section = section;
  row.contender = std::move(contender);
  row.what = std::move(what);
  row.bytes = bytes;
  return row;
}

// ---------------------------------------------------------------------- copy

using Copy = void (*)(uint8_t* to, const uint8_t* from, int64_t size_bytes);

void PlainCopy(uint8_t* to, const uint8_t* from, int64_t size_bytes) {
  std::memcpy(to, from, size_bytes);
}

#if defined(__SSE2__)
void StreamingCopy(uint8_t* to, const uint8_t* from, int64_t size_bytes) {
  for (int64_t i = 0; i < size_bytes; i += 64) {
    const auto* const in = reinterpret_cast<const __m128i*>(from + i);
    auto* const out = reinterpret_cast<__m128i*>(to + i);
    const __m128i a = _mm_load_si128(in);
    const __m128i b = _mm_load_si128(in + 1);
    const __m128i c = _mm_load_si128(in + 2);
    const __m128i d = _mm_load_si128(in + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  _mm_sfence();
}
#endif

struct CopyBuffers {
  BufferPtr from = std::make_shared<AlignedBuffer>();
  BufferPtr to = std::make_shared<AlignedBuffer>();

  absl::Status Prepare() const {
    PENSTOCK_RETURN_IF_ERROR(Fill(*from));
    return Fill(*to);
  }
};

absl::StatusOr<Sample> TimeCopy(const CopyBuffers& buffers, Copy copy,
                                int64_t rounds, int threads) {
  const UsageMeter meter;
  // Each thread has its own part of the buffers, in whole cache lines.
  const int64_t part = kBufferBytes / threads / 64 * 64;
  PENSTOCK_RETURN_IF_ERROR(InThreads(threads, [&](int thread) {
    for (int64_t i = 0; i < rounds; ++i) {
      copy(buffers.to->data() + thread * part,
           buffers.from->data() + thread * part, part);
    }
    return absl::OkStatus();
  }));
  const Sample sample = SampleOf(meter.Stop());
  if (std::memcmp(buffers.to->data(), buffers.from->data(), part * threads) !=
      0) {
    return absl::DataLossError("the copy differs");
  }
  return sample;
}

// --------------------------------------------------------------------- write

struct Shape {
  int in_flight;
  int64_t block_bytes;
  bool ring;

  std::string Name() const {
    return absl::StrCat(in_flight, " x ", block_bytes / kMiB, " MiB");
  }
};

absl::Status WriteAll(const Shape& shape, int fd, int64_t size_bytes,
                      uint8_t* buffers) {
  BlockRun run;
  run.fd = fd;
  run.direction = Direction::kWrite;
  run.size_bytes = size_bytes;
  run.block_bytes = shape.block_bytes;
  run.in_flight = shape.in_flight;
  run.buffers = buffers;
  // Where fallocate is refused, blocks come as they are written.
  static_cast<void>(fallocate(fd, 0, 0, size_bytes));
  PENSTOCK_RETURN_IF_ERROR(shape.ring ? RunByRing(run) : RunByThreads(run));
  return fsync(fd) == 0 ? absl::OkStatus()
                        : absl::ErrnoToStatus(errno, "fsync");
}

absl::StatusOr<Sample> TimeWrite(const std::string& path, const Shape& shape,
                                 int64_t size_bytes, AlignedBuffer& buffer) {
  const UsageMeter meter;
  absl::StatusOr<Descriptor> file =
      Descriptor::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT);
  if (file.status().code() == absl::StatusCode::kInvalidArgument) {
    unlink(path.c_str());  // opening made it before it refused
    return absl::UnimplementedError("the file system refuses O_DIRECT");
  }
  PENSTOCK_RETURN_IF_ERROR(file.status());
  const absl::Status written =
      WriteAll(shape, file->get(), size_bytes, buffer.data());
  const Sample sample = SampleOf(meter.Stop(), size_bytes);
  file->Close();
  unlink(path.c_str());
  PENSTOCK_RETURN_IF_ERROR(written);
  return sample;
}

// ---------------------------------------------------------------------- read

using FileMaker = std::function<absl::StatusOr<std::string>()>;

absl::StatusOr<int64_t> SizeOf(const Descriptor& file) {
  struct stat info;
  if (fstat(file.get(), &info) != 0) return absl::ErrnoToStatus(errno, "stat");
  return info.st_size;
}

absl::Status ReadAll(const std::string& path, int flags, const Shape& shape,
                     uint8_t* buffers) {
  PENSTOCK_ASSIGN_OR_RETURN(const Descriptor file,
                            Descriptor::Open(path, O_RDONLY | flags));
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t size_bytes, SizeOf(file));
  BlockRun run;
  run.fd = file.get();
  run.size_bytes = size_bytes;
  run.block_bytes = shape.block_bytes;
  run.in_flight = shape.in_flight;
  run.buffers = buffers;
  return shape.ring ? RunByRing(run) : RunByThreads(run);
}

// Every page of the mapping, a part of it by each thread.
absl::Status TouchAll(const std::string& path, int threads) {
  PENSTOCK_ASSIGN_OR_RETURN(const Descriptor file,
                            Descriptor::Open(path, O_RDONLY));
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t size_bytes, SizeOf(file));
  void* const pages =
      mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (pages == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  const int64_t part = (size_bytes + threads - 1) / threads;
  const absl::Status touched = InThreads(threads, [&](int thread) {
    const auto* const bytes = static_cast<const volatile uint8_t*>(pages);
    const int64_t end = std::min<int64_t>(size_bytes, (thread + 1) * part);
    for (int64_t i = thread * part; i < end; i += 4096) {
      static_cast<void>(bytes[i]);
    }
    return absl::OkStatus();
  });
  munmap(pages, size_bytes);
  return touched;
}

template <typename Read>
absl::StatusOr<Sample> TimeColdRead(const FileMaker& file, Read read) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path, file());
  PENSTOCK_RETURN_IF_ERROR(DropFromCache(path));
  const UsageMeter meter;
  PENSTOCK_RETURN_IF_ERROR(read(path));
  return SampleOf(meter.Stop());
}

}  // namespace

std::vector<Contender> CopyCeilings(int64_t size_bytes, int threads) {
  const CopyBuffers buffers;
  const int64_t rounds = std::max<int64_t>(1, size_bytes / kBufferBytes);
  std::vector<std::pair<std::string, Copy>> copies = {{"memcpy", &PlainCopy}};
#if defined(__SSE2__)
  copies.emplace_back("non-temporal copy", &StreamingCopy);
#endif
  std::vector<int> counts = {1};
  if (threads > 1) counts.push_back(threads);
  std::vector<Contender> contenders;
  for (const auto& [name, copy] : copies) {
    for (const int count : counts) {
      const int64_t bytes = kBufferBytes / count / 64 * 64 * count * rounds;
      contenders.push_back(
          {{RowOf(Section::kCopy, name,
                  absl::StrCat(count, count == 1 ? " thread" : " threads"),
                  bytes)},
           [=] { return buffers.Prepare(); },
           [=, copy = copy] {
             return TimeCopy(buffers, copy, rounds, count);
           }});
    }
  }
  return contenders;
}

std::vector<Contender> WriteCeilings(const std::string& directory,
                                     int64_t size_bytes) {
  const auto buffer = std::make_shared<AlignedBuffer>();
  const int64_t whole =
      std::max<int64_t>(1, size_bytes / (4 * kMiB)) * 4 * kMiB;
  std::vector<Contender> contenders;
  for (const Shape& shape : {Shape{2, kMiB, false}, Shape{1, 4 * kMiB, false},
                             Shape{2, 4 * kMiB, false},
                             Shape{4, 4 * kMiB, false}, Shape{4, kMiB, true}}) {
    contenders.push_back(
        {{RowOf(Section::kWrite,
                shape.ring ? "O_DIRECT, io_uring" : "O_DIRECT, threads",
                shape.Name(), whole)},
         [=] { return Fill(*buffer); },
         [=] {
           return TimeWrite(directory + "/ceiling.bin", shape, whole, *buffer);
         }});
  }
  return contenders;
}

std::vector<Contender> ReadCeilings(const FileMaker& file, int64_t tensor_bytes,
                                    int threads) {
  struct Way {
    std::string name;
    Shape shape;
    int flags;
  };
  const std::vector<Way> ways = {
      {"O_DIRECT, io_uring", {4, kMiB, true}, O_DIRECT},
      {"O_DIRECT, threads", {2, 4 * kMiB, false}, O_DIRECT},
      {"O_DIRECT, threads", {4, kMiB, false}, O_DIRECT},
      {"buffered", {1, 4 * kMiB, false}, 0},
  };
  const auto buffer = std::make_shared<AlignedBuffer>();
  const auto prepare = [=]() -> absl::Status {
    PENSTOCK_RETURN_IF_ERROR(Fill(*buffer));
    return file().status();
  };
  std::vector<Contender> contenders;
  for (const Way& way : ways) {
    contenders.push_back(
        {{RowOf(Section::kRead, way.name, way.shape.Name(), tensor_bytes)},
         prepare,
         [=] {
           return TimeColdRead(file, [&](const std::string& path) {
             return ReadAll(path, way.flags, way.shape, buffer->data());
           });
         }});
  }
  contenders.push_back(
      {{RowOf(Section::kRead, "mapped, touched",
              absl::StrCat(threads, threads == 1 ? " thread" : " threads"),
              tensor_bytes)},
       prepare,
       [=] {
         return TimeColdRead(file, [&](const std::string& path) {
           return TouchAll(path, threads);
         });
       }});
  return contenders;
}

}  // namespace penstock::bench
