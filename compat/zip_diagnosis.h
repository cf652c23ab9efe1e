// DiagnoseZip: what a zip file is that is no checkpoint that can be read.

#ifndef PENSTOCK_COMPAT_ZIP_DIAGNOSIS_H_
#define PENSTOCK_COMPAT_ZIP_DIAGNOSIS_H_

#include "absl/status/status.h"
#include "compat/diagnosis.h"
#include "core/file.h"

namespace penstock {

// Sets kind and what, and adds advice, from the names of the zip's records, or
// from the error of reading them.
void DiagnoseZip(const RandomAccessFile& file, Diagnosis& diagnosis);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_DIAGNOSIS_H_
