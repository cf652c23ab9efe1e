// ForeignSink: writes a file of a format that others made.

#ifndef PENSTOCK_COMPAT_FOREIGN_SINK_H_
#define PENSTOCK_COMPAT_FOREIGN_SINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "codec/plan.h"
#include "codec/sink.h"

namespace penstock {

// A file that is laid out before its first byte is written. The pump's plan
// must be plan(). Thread-safe as Sink says.
class ForeignSink : public Sink {
 public:
  // What to pump.
  virtual const Plan& plan() const = 0;
  // The exact length of the file.
  virtual int64_t FinalSize() const = 0;
  // What the format could not hold as it was, for people.
  virtual const std::vector<std::string>& warnings() const = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FOREIGN_SINK_H_
