// Gate M1: the chunk codec against ceilings measured in the same run
// (codec.md 7.1). One thread, 64 MiB of each kind of data in chunks of 1 MiB,
// all measurements interleaved, in thread CPU time, medians of the rounds.
//
// Ceiling C1, per direction: parameter set F alone on the coded plane, split
// beforehand, plus a memcpy of the chunk. The memcpy touches memory as the
// codec does: encoding reads 64 MiB and writes one reused megabyte, decoding
// writes 64 MiB.
//
//   gate_m1 [rounds]              prints tables; exit code 1 where a gate is
//   missed gate_m1 write PATH            writes the bfloat16 data, for
//   zipnn_peer.py

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bench/corpus.h"
#include "codec/chunk_codec.h"
#include "codec/plane_choice.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kTotal = 64 << 20;
constexpr int64_t kChunk = 1 << 20;
constexpr int64_t kChunks = kTotal / kChunk;
constexpr int64_t kRow = 4096;

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

template <typename Work>
double Time(Work work) {
  const double start = ThreadSeconds();
  for (int64_t i = 0; i < kChunks; ++i) work(i);
  return ThreadSeconds() - start;
}

// Around the cache; the yardstick beside memcpy.
void StreamingCopy(const uint8_t* from, uint8_t* to) {
#if defined(__SSE2__)
  for (int64_t i = 0; i < kChunk; i += 16) {
    _mm_stream_si128(
        reinterpret_cast<__m128i*>(to + i),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
  _mm_sfence();
#else
  std::memcpy(to, from, kChunk);
#endif
}

// 64 MiB of one kind, its chunks encoded, and its coded planes by themselves.
struct Data {
  Data(DType type, const std::function<void(int, absl::Span<uint8_t>)>& fill)
      : dtype(type), raw(kTotal), out(kTotal), records(kChunks) {
    for (int64_t i = 0; i < kChunks; ++i) {
      fill(static_cast<int>(i),
           absl::MakeSpan(raw).subspan(i * kChunk, kChunk));
      records[i].resize(Encode(i));
      std::copy_n(record.data(), records[i].size(), records[i].begin());
      stored_bytes += static_cast<int64_t>(records[i].size());
      SplitCodedPlane(i);
    }
  }

  absl::Span<const uint8_t> Chunk(int64_t i) const {
    return absl::MakeConstSpan(raw).subspan(i * kChunk, kChunk);
  }
  int64_t Encode(int64_t i) {
    const auto size =
        EncodeChunk(Chunk(i), dtype, compressor, planes, record, coding[i]);
    PENSTOCK_CHECK(size.ok());
    return *size;
  }
  void Decode(int64_t i) {
    const absl::Status status =
        DecodeChunk(records[i], coding[i], decompressor, planes,
                    absl::MakeSpan(out).subspan(i * kChunk, kChunk));
    PENSTOCK_CHECK(status.ok());
  }

  // Keeps the last plane, where the exponents are, and its frame.
  void SplitCodedPlane(int64_t i) {
    const int width = coding[i].num_planes;
    const int64_t size = kChunk / width;
    SplitPlanes(Chunk(i), width, coding[i].transform, out.data());
    coded.emplace_back(out.data() + (width - 1) * size,
                       out.data() + width * size);
    const auto frame_bytes = CompressCoded(i);
    frames.emplace_back(record.data(), record.data() + frame_bytes);
    coded_bytes += frame_bytes;
  }
  int64_t CompressCoded(int64_t i) {
    const auto size = compressor.CompressFrame(
        PlaneMode::kLiteral, coded[i],
        absl::MakeSpan(record.data(), record.capacity()));
    PENSTOCK_CHECK(size.ok());
    return *size;
  }
  void DecompressCoded(int64_t i) {
    const absl::Status status = decompressor.DecompressFrame(
        frames[i], absl::MakeSpan(planes.data(), coded[i].size()));
    PENSTOCK_CHECK(status.ok());
  }

  double ratio() const {
    return static_cast<double>(kTotal) / static_cast<double>(stored_bytes);
  }

  DType dtype;
  std::vector<uint8_t> raw;
  std::vector<uint8_t> out;
  std::vector<std::vector<uint8_t>> records;
  std::vector<ChunkCoding> coding = std::vector<ChunkCoding>(kChunks);
  std::vector<std::vector<uint8_t>> coded;
  std::vector<std::vector<uint8_t>> frames;
  int64_t stored_bytes = 0;
  int64_t coded_bytes = 0;
  Compressor compressor;
  Decompressor decompressor;
  AlignedBuffer planes;
  AlignedBuffer record;
};

// Order-0 entropy of the coded planes, in bytes.
double EntropyBytes(const Data& data) {
  double bits = 0;
  for (const std::vector<uint8_t>& plane : data.coded) {
    double counts[256] = {};
    for (const uint8_t byte : plane) ++counts[byte];
    for (const double count : counts) {
      if (count == 0) continue;
      bits -= count * std::log2(count / static_cast<double>(plane.size()));
    }
  }
  return bits / 8;
}

struct Samples {
  std::vector<double> values;

  void Add(double value) { values.push_back(value); }
  double median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double least() const {
    return *std::min_element(values.begin(), values.end());
  }
  double most() const {
    return *std::max_element(values.begin(), values.end());
  }
};

// Seconds per 64 MiB, and shares of the ceiling, one sample a round.
struct Figures {
  Samples copy_in, copy_out, stream, f_encode, f_decode;
  Samples encode, decode, encode_hashed, decode_hashed, choice;
  Samples encode_share, decode_share;
};

void MeasureRound(Data& data, Figures& figures) {
  std::vector<uint8_t>& out = data.out;
  const auto add = [](Samples& samples, auto work) {
    samples.Add(Time(work));
    return samples.values.back();
  };
  const double copy_in = add(figures.copy_in, [&](int64_t i) {
    std::memcpy(data.record.data(), data.Chunk(i).data(), kChunk);
  });
  const double f_encode =
      add(figures.f_encode, [&](int64_t i) { data.CompressCoded(i); });
  const double encode = add(figures.encode, [&](int64_t i) { data.Encode(i); });
  const double copy_out = add(figures.copy_out, [&](int64_t i) {
    std::memcpy(out.data() + i * kChunk, data.Chunk(i).data(), kChunk);
  });
  const double f_decode =
      add(figures.f_decode, [&](int64_t i) { data.DecompressCoded(i); });
  std::fill(out.begin(), out.end(), uint8_t{0});
  const double decode = add(figures.decode, [&](int64_t i) { data.Decode(i); });
  PENSTOCK_CHECK(out == data.raw);
  figures.encode_share.Add((copy_in + f_encode) / encode);
  figures.decode_share.Add((copy_out + f_decode) / decode);

  add(figures.stream, [&](int64_t i) {
    StreamingCopy(data.Chunk(i).data(), data.planes.data());
  });
  add(figures.choice,
      [&](int64_t i) { ChoosePlanes(data.Chunk(i), data.dtype); });
  add(figures.encode_hashed, [&](int64_t i) {
    HashOf(data.Chunk(i), i);
    const int64_t size = data.Encode(i);
    HashOf(absl::MakeConstSpan(data.record.data(), size), i);
  });
  add(figures.decode_hashed, [&](int64_t i) {
    HashOf(data.records[i], i);
    data.Decode(i);
    HashOf(absl::MakeConstSpan(out).subspan(i * kChunk, kChunk), i);
  });
}

void PrintSpeed(const char* what, const Samples& seconds) {
  const double gb = static_cast<double>(kTotal) * 1e-9;
  std::printf("| %s | %.2f | %.2f - %.2f |\n", what, gb / seconds.median(),
              gb / seconds.most(), gb / seconds.least());
}

bool Judge(const std::string& what, double value, const char* relation,
           double limit) {
  const bool passed = *relation == '>' ? value >= limit : value <= limit;
  std::printf("| %s | %.4f | %s %.3f | %s |\n", what.c_str(), value,
              *relation == '>' ? "at least" : "at most", limit,
              passed ? "PASS" : "FAIL");
  return passed;
}

void PrintGateHeader() {
  std::printf("\n| gate | value | wanted | |\n|---|---|---|---|\n");
}

bool RunSet(const char* name, DType dtype, double least_ratio, int rounds) {
  Data data(dtype, [dtype](int i, absl::Span<uint8_t> out) {
    FillWeights(dtype, i, kRow, out);
  });
  Figures figures;
  for (int round = 0; round < rounds; ++round) MeasureRound(data, figures);

  std::printf(
      "\n## %s, %d rounds\n\n| GB/s of raw bytes | median | range |\n"
      "|---|---|---|\n",
      name, rounds);
  PrintSpeed("memcpy to a reused megabyte", figures.copy_in);
  PrintSpeed("memcpy to 64 MiB", figures.copy_out);
  PrintSpeed("streaming copy to a reused megabyte", figures.stream);
  PrintSpeed("set F alone, encode", figures.f_encode);
  PrintSpeed("set F alone, decode", figures.f_decode);
  PrintSpeed("**encode**", figures.encode);
  PrintSpeed("**decode**", figures.decode);
  PrintSpeed("encode with both XXH3", figures.encode_hashed);
  PrintSpeed("decode with both XXH3", figures.decode_hashed);
  PrintGateHeader();
  bool passed = Judge("ratio", data.ratio(), ">", least_ratio);
  passed &=
      Judge("encode, share of C1", figures.encode_share.median(), ">", 0.80);
  passed &=
      Judge("decode, share of C1", figures.decode_share.median(), ">", 0.80);
  passed &= Judge("sampling, share of encode",
                  figures.choice.median() / figures.encode.median(), "<", 0.02);
  passed &= Judge("coded plane over its order-0 entropy",
                  static_cast<double>(data.coded_bytes) / EntropyBytes(data),
                  "<", 1.025);
  std::printf("\nshares of C1, range: encode %.3f - %.3f, decode %.3f - %.3f\n",
              figures.encode_share.least(), figures.encode_share.most(),
              figures.decode_share.least(), figures.decode_share.most());
  return passed;
}

bool WriteBfloat16(const char* path) {
  std::vector<uint8_t> bytes(kTotal);
  for (int64_t i = 0; i < kChunks; ++i) {
    FillWeights(DType::kBFloat16, i, kRow,
                absl::MakeSpan(bytes).subspan(i * kChunk, kChunk));
  }
  std::FILE* file = std::fopen(path, "wb");
  if (file == nullptr) return false;
  const size_t written = std::fwrite(bytes.data(), 1, bytes.size(), file);
  return std::fclose(file) == 0 && written == bytes.size();
}

bool RunRatios() {
  std::printf("\n## Ratios\n");
  PrintGateHeader();
  const Data rows(DType::kBFloat16, [](int i, absl::Span<uint8_t> out) {
    FillWeights(DType::kBFloat16, i, kRow, out);
    ClearRows(kRow * 2, out);
  });
  bool passed =
      Judge("bfloat16, a tenth of the rows zero", rows.ratio(), ">", 1.62);
  const Data counters(DType::kInt64, [](int i, absl::Span<uint8_t> out) {
    FillCounters(i, out);
  });
  passed &= Judge("int64 counters", counters.ratio(), ">", 5.5);
  return passed;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "write") == 0) {
    return penstock::WriteBfloat16(argv[2]) ? 0 : 2;
  }
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  bool passed =
      penstock::RunSet("bfloat16", penstock::DType::kBFloat16, 1.500, rounds);
  passed &=
      penstock::RunSet("float32", penstock::DType::kFloat32, 1.199, rounds);
  passed &= penstock::RunRatios();
  std::printf("\n%s\n", passed ? "PASS" : "FAIL");
  return passed ? 0 : 1;
}
