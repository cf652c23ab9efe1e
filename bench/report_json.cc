#include "bench/report.h"
#include "bench/statistics.h"

namespace penstock::bench {
namespace {

using Json = nlohmann::ordered_json;

Json RowJson(const Report& report, const Row& row) {
  const Spread spread = SpreadOf(row.seconds);
  Json json = {
      {"section", std::string(NameOf(row.section))},
      {"contender", row.contender},
      {"what", row.what},
      {"bytes", row.bytes},
      {"seconds",
       {{"median", spread.median},
        {"best", spread.best},
        {"worst", spread.worst},
        {"rounds", row.seconds}}},
  };
  if (row.bytes > 0) {
    json["bytes_per_second"] = {{"median", row.Rate(spread.median)},
                                {"best", row.Rate(spread.best)},
                                {"worst", row.Rate(spread.worst)}};
    const double ceiling =
        CeilingRate(report.rows, CeilingSectionOf(row.section));
    if (ceiling > 0) {
      json["share_of_ceiling"] = row.Rate(spread.median) / ceiling;
    }
  }
  json["cpu_seconds"] = SpreadOf(row.cpu_seconds).median;
  json["peak_bytes"] = row.peak_bytes;
  if (row.file_bytes > 0) json["file_bytes"] = row.file_bytes;
  return json;
}

}  // namespace

Json ReportJson(const Report& report) {
  const Machine& machine = report.machine;
  Json json = {
      {"schema", "penstock.bench/1"},
      {"machine",
       {{"cores", machine.cores},
        {"processor", machine.processor},
        {"memory_bytes", machine.memory_bytes},
        {"kernel", machine.kernel},
        {"file_system", machine.file_system},
        {"mount_options", machine.mount_options}}},
  };
  json["versions"] = Json::object();
  for (const auto& [name, version] : report.versions) {
    json["versions"][name] = version;
  }
  json["data"] = {{"tensors", report.tensors},
                  {"num_tensors", report.num_tensors},
                  {"bytes", report.tensor_bytes}};
  json["rounds"] = report.rounds;
  json["threads"] = report.threads;
  json["seed"] = report.seed;
  json["seconds"] = report.seconds;
  json["checks_passed"] = report.num_checks;
  json["ceilings"] = Json::object();
  for (const Section section :
       {Section::kCopy, Section::kWrite, Section::kRead}) {
    json["ceilings"][std::string(NameOf(section))] =
        CeilingRate(report.rows, section);
  }
  json["rows"] = Json::array();
  for (const Row& row : report.rows) {
    json["rows"].push_back(RowJson(report, row));
  }
  json["verdict"] = Verdict(report.rows);
  json["notes"] = report.notes;
  return json;
}

}  // namespace penstock::bench
