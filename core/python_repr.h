// PythonRepr: how Python would print a value.

#ifndef PENSTOCK_CORE_PYTHON_REPR_H_
#define PENSTOCK_CORE_PYTHON_REPR_H_

#include <optional>
#include <string>

#include "core/value.h"

namespace penstock {

// `repr(value)` of a scalar, and of a tuple of scalars; a global as
// module.name. Nothing for everything else, and for ints beyond what Python
// prints, about 4,300 digits. Characters from U+00AE on count as printable.
std::optional<std::string> PythonRepr(const Value& value);

}  // namespace penstock

#endif  // PENSTOCK_CORE_PYTHON_REPR_H_
