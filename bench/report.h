// What a run found out, and its three forms.

#ifndef PENSTOCK_BENCH_REPORT_H_
#define PENSTOCK_BENCH_REPORT_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench/machine.h"
#include "bench/row.h"
#include "nlohmann/json.hpp"

namespace penstock::bench {

struct Report {
  Machine machine;
  // Name and version of all that was measured: "penstock", "torch".
  std::vector<std::pair<std::string, std::string>> versions;
  std::string tensors;  // "large", "small", "one"
  int64_t num_tensors = 0;
  int64_t tensor_bytes = 0;
  int rounds = 0;
  int threads = 0;
  uint64_t seed = 0;       // of the orders
  double seconds = 0;      // the whole run
  int64_t num_checks = 0;  // results that were compared and equal
  std::vector<Row> rows;
  std::vector<std::string> notes;  // what could not run, what was halved
};

// Whether to compress on this disk: a sentence with the figures it comes from;
// empty where save or load of raw or compressed files were not measured.
std::string Verdict(const std::vector<Row>& rows);

// A table for each section, under what was measured where.
std::string ReportText(const Report& report);

// Schema "penstock.bench/1": all that is in the text, and every round.
nlohmann::ordered_json ReportJson(const Report& report);

// Bars of the medians with their spread, and the ceilings as lines.
std::string ReportSvg(const Report& report);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_REPORT_H_
