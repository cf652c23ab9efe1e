// confined FOLDER PROGRAM [ARGUMENT]...: runs PROGRAM where the kernel kills it
// for starting a program or a process or for opening a socket, and lets it
// write below FOLDER alone. What a test of hostile files runs the command in.
//
// Exit code 125: the kernel cannot do that.

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern char** environ;

namespace {

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(125);
}

// -------------------------------------------------------------- what may write

constexpr uint64_t kWriting =
    LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

void WriteOnlyBelow(const char* folder) {
  landlock_ruleset_attr handled = {};
  handled.handled_access_fs = kWriting;
  const int rules = static_cast<int>(
      syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0));
  if (rules < 0) Fail("landlock_create_ruleset");
  landlock_path_beneath_attr below = {};
  below.allowed_access = kWriting;
  below.parent_fd = open(folder, O_PATH | O_CLOEXEC);
  if (below.parent_fd < 0) Fail(folder);
  if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below,
              0) != 0) {
    Fail("landlock_add_rule");
  }
  if (syscall(SYS_landlock_restrict_self, rules, 0) != 0) {
    Fail("landlock_restrict_self");
  }
}

// ------------------------------------------------------------- what may be
// called

class Filter {
 public:
  void Load(size_t offset) {
    code_.push_back(
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)));
  }
  // Where the loaded word compares so with `value`: ends with `action`.
  void If(uint16_t comparison, uint32_t value, uint32_t action) {
    code_.push_back(BPF_JUMP(
        static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 0, 1));
    Return(action);
  }
  void Unless(uint16_t comparison, uint32_t value, uint32_t action) {
    code_.push_back(BPF_JUMP(
        static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 1, 0));
    Return(action);
  }
  // Skips what `rules` add unless the call is this one.
  template <typename Rules>
  void ForCall(uint32_t number, Rules rules) {
    const size_t jump = code_.size();
    code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 0));
    rules();
    code_[jump].jf = static_cast<uint8_t>(code_.size() - jump - 1);
  }
  void Return(uint32_t action) {
    code_.push_back(BPF_STMT(BPF_RET | BPF_K, action));
  }
  void Install() {
    const sock_fprog program = {static_cast<uint16_t>(code_.size()),
                                code_.data()};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
      Fail("seccomp");
    }
  }

 private:
  std::vector<sock_filter> code_;
};

constexpr uint32_t kKill = SECCOMP_RET_KILL_PROCESS;
constexpr uint32_t kAbsent = SECCOMP_RET_ERRNO | ENOSYS;

size_t Argument(int number) {
  return offsetof(seccomp_data, args) + static_cast<size_t>(number) * 8;
}

// The one call that starts PROGRAM names a descriptor that it closes, and an
// address that nobody else can know.
void ForbidAllBut(int program, const char* empty_path) {
  Filter filter;
  filter.Load(offsetof(seccomp_data, arch));
  filter.Unless(BPF_JEQ, AUDIT_ARCH_X86_64, kKill);
  filter.Load(offsetof(seccomp_data, nr));
  filter.If(BPF_JGE, 0x40000000, kKill);  // x32
  for (const int call :
       {SYS_execve, SYS_fork, SYS_vfork, SYS_socket, SYS_socketpair,
        SYS_connect, SYS_bind, SYS_ptrace, SYS_process_vm_writev}) {
    filter.If(BPF_JEQ, static_cast<uint32_t>(call), kKill);
  }
  // The C library asks for a thread by clone where this is absent. A ring would
  // open files and sockets behind the filter's back.
  filter.If(BPF_JEQ, SYS_clone3, kAbsent);
  filter.If(BPF_JEQ, SYS_io_uring_setup, kAbsent);
  filter.ForCall(SYS_clone, [&filter] {
    filter.Load(Argument(0));
    filter.Unless(BPF_JSET, CLONE_THREAD, kKill);
    filter.Return(SECCOMP_RET_ALLOW);
  });
  filter.ForCall(SYS_execveat, [&] {
    const uint64_t address = reinterpret_cast<uintptr_t>(empty_path);
    filter.Load(Argument(0));
    filter.Unless(BPF_JEQ, static_cast<uint32_t>(program), kKill);
    filter.Load(Argument(1));
    filter.Unless(BPF_JEQ, static_cast<uint32_t>(address), kKill);
    filter.Load(Argument(1) + 4);
    filter.Unless(BPF_JEQ, static_cast<uint32_t>(address >> 32), kKill);
    filter.Return(SECCOMP_RET_ALLOW);
  });
  filter.Return(SECCOMP_RET_ALLOW);
  filter.Install();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: confined FOLDER PROGRAM [ARGUMENT]...\n");
    return 125;
  }
  const int program = open(argv[2], O_RDONLY | O_CLOEXEC);
  if (program < 0) Fail(argv[2]);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail("no_new_privs");
  WriteOnlyBelow(argv[1]);
  static const char kEmptyPath[] = "";
  ForbidAllBut(program, kEmptyPath);
  syscall(SYS_execveat, program, kEmptyPath, argv + 2, environ, AT_EMPTY_PATH);
  Fail(argv[2]);
}
