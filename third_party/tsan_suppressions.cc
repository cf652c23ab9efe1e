// Linked into whatever runs TBB under ThreadSanitizer.
//
// Debian's TBB is not instrumented, so TSan cannot see the order it guarantees
// between its own accesses, nor that an operator delete in it comes last.
// race_top: only where the innermost frame is TBB's own; a race in our code,
// run by a TBB thread, is still reported. Elsewhere nothing calls this
// function.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race_top:tbb/detail\n"
         "race_top:operator delete\n";
}
