#include "bench/rounds.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace penstock::bench {
namespace {

void Add(const Sample& sample, std::vector<Row>& rows) {
  PENSTOCK_CHECK(sample.seconds.size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].seconds.push_back(sample.seconds[i]);
    rows[i].cpu_seconds.push_back(sample.cpu_seconds);
    rows[i].peak_bytes = std::max(rows[i].peak_bytes, sample.peak_bytes);
    rows[i].file_bytes = sample.file_bytes;
  }
}

// The state of a run: what each contender has so far. Without rows: dropped.
class Runner {
 public:
  Runner(const std::vector<Contender>& contenders, const RoundsOptions& options)
      : contenders_(contenders), options_(options) {
    for (const Contender& contender : contenders) {
      rows_.push_back(contender.rows);
    }
  }

  absl::Status Prepare() {
    for (size_t i = 0; i < contenders_.size(); ++i) {
      if (contenders_[i].prepare == nullptr) continue;
      PENSTOCK_RETURN_IF_ERROR(
          Judge(i, contenders_[i].prepare(), "preparing "));
    }
    if (options_.prepared != nullptr) options_.prepared();
    return absl::OkStatus();
  }

  absl::Status Run(int round, int i) {
    if (rows_[i].empty()) return absl::OkStatus();
    if (options_.keep_going != nullptr &&
        !options_.keep_going(round, rows_[i].front().Name())) {
      return absl::CancelledError("stopped");
    }
    const absl::StatusOr<Sample> sample = contenders_[i].run();
    PENSTOCK_RETURN_IF_ERROR(
        Judge(i, sample.status(), absl::StrCat("round ", round + 1, ", ")));
    if (!sample.ok()) return absl::OkStatus();
    if (rows_[i].front().section > Section::kRead) ++result_.num_checks;
    Add(*sample, rows_[i]);
    return absl::OkStatus();
  }

  Rounds Take() && {
    for (std::vector<Row>& own : rows_) {
      for (Row& row : own) result_.rows.push_back(std::move(row));
    }
    return std::move(result_);
  }

 private:
  // Drops contender `i` where it cannot run here; other errors are the run's.
  absl::Status Judge(size_t i, const absl::Status& status,
                     const std::string& when) {
    if (status.ok() || rows_[i].empty()) return absl::OkStatus();
    const std::string name = rows_[i].front().Name();
    if (!absl::IsUnimplemented(status)) {
      return Annotate(status, absl::StrCat(when, name));
    }
    result_.notes.push_back(
        absl::StrCat(name, ": ", std::string(status.message())));
    rows_[i].clear();
    return absl::OkStatus();
  }

  const std::vector<Contender>& contenders_;
  const RoundsOptions& options_;
  std::vector<std::vector<Row>> rows_;
  Rounds result_;
};

// What Rounds::excess says, when `num_done` of `n` contenders had their first
// turn since `start`; 0 as long as all may still end in time.
double ExcessOf(double start, int num_done, int n,
                const RoundsOptions& options) {
  if (options.deadline_seconds <= 0) return 0;
  const double now = options.now();
  // The rest of this round may take nothing, the next ones what this has.
  if (now + (now - start) * (options.rounds - 1) <= options.deadline_seconds) {
    return 0;
  }
  const double left = std::max(0.001, options.deadline_seconds - now);
  const double needed = (now - start) * n / num_done * options.rounds;
  return std::max(1.001, needed / left);
}

}  // namespace

std::vector<int> OrderOf(int round, int n, uint64_t seed) {
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(seed * 1'000'003 + round);
  // Not std::shuffle: its draws differ between libraries.
  for (int i = n - 1; i > 0; --i) {
    std::swap(order[i], order[random() % (i + 1)]);
  }
  return order;
}

absl::StatusOr<Rounds> RunRounds(const std::vector<Contender>& contenders,
                                 const RoundsOptions& options) {
  Runner runner(contenders, options);
  PENSTOCK_RETURN_IF_ERROR(runner.Prepare());
  const double start = options.now();
  const auto n = static_cast<int>(contenders.size());
  for (int round = 0; round < options.rounds; ++round) {
    int num_done = 0;
    for (const int i : OrderOf(round, n, options.seed)) {
      PENSTOCK_RETURN_IF_ERROR(runner.Run(round, i));
      ++num_done;
      // Not only at its end: what is too slow shall be known early.
      const double excess =
          round == 0 ? ExcessOf(start, num_done, n, options) : 0;
      if (excess > 0) {
        Rounds given_up;
        given_up.excess = excess;
        return given_up;
      }
    }
  }
  return std::move(runner).Take();
}

absl::StatusOr<Rounds> RunHalving(
    int64_t size_bytes, int64_t least_bytes, double deadline_seconds,
    const std::function<absl::StatusOr<Rounds>(int64_t size_bytes,
                                               double deadline_seconds)>& run,
    const std::function<void(int64_t size_bytes)>& halved) {
  while (true) {
    const bool can_halve = size_bytes / 2 >= least_bytes;
    PENSTOCK_ASSIGN_OR_RETURN(
        Rounds rounds, run(size_bytes, can_halve ? deadline_seconds : 0));
    if (rounds.excess <= 1) return rounds;
    for (; rounds.excess > 1 && size_bytes / 2 >= least_bytes;
         rounds.excess /= 2) {
      size_bytes /= 2;
    }
    halved(size_bytes);
  }
}

}  // namespace penstock::bench
