"""A parser's fuzz target, and the test that feeds it what was found so far."""

def fuzz_target(name, deps):
    """<name> for libFuzzer (--config=fuzz), and <name>_test for every build.

    <name>.cc defines LLVMFuzzerTestOneInput. fuzz/<name without _fuzz>.hex holds
    its inputs, a .dict beside it what libFuzzer may put into them.
    """
    corpus = "fuzz/%s.hex" % name[:-len("_fuzz")]
    native.cc_library(
        name = name + "_input",
        testonly = True,
        srcs = [name + ".cc"],
        deps = deps,
        alwayslink = True,
    )
    native.cc_binary(
        name = name,
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = [":%s_input" % name],
    )
    native.cc_test(
        name = name + "_test",
        size = "small",
        args = ["$(location %s)" % corpus],
        data = [corpus],
        deps = [
            ":%s_input" % name,
            "//tools:replay_corpus",
        ],
    )
