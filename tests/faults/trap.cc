// SPDX-License-Identifier: Apache-2.0
//
// trap.cc -- the handler of SIGSYS, and the gate by which its own calls pass.
#include "faults/trap.hpp"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>

#include "faults/errnos.hpp"

#if defined(__x86_64__)

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

// The gate: the only instructions whose system calls the kernel does not hand over.
//   gate_call     a system call as a function
//   gate_restore  what a signal handler returns through
//   gate_thread   a call after which two threads go on, each of which jumps back to where it was made
extern "C" {
long faults_gate_call(long number, long a, long b, long c, long d, long e, long f);
void faults_gate_restore();
void faults_gate_thread();
extern const char faults_gate_begin[];
extern const char faults_gate_end[];
void* faults_gate_back = nullptr;
}
asm(R"(
    .text
    .globl faults_gate_begin, faults_gate_end, faults_gate_call, faults_gate_restore, faults_gate_thread
    .hidden faults_gate_begin, faults_gate_end, faults_gate_call, faults_gate_restore, faults_gate_thread
faults_gate_begin:
    nop
faults_gate_call:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    syscall
    ret
faults_gate_restore:
    mov $15, %eax
    syscall
    nop
faults_gate_thread:
    syscall
    jmp *faults_gate_back(%rip)
faults_gate_end:
    nop
)");

namespace faults {

namespace {

constexpr char allow = 0;
constexpr char block = 1;

thread_local volatile char selector = allow;
thread_local bool joined = false;

plan the_plan;
std::atomic<record*> the_record{nullptr};
std::atomic<std::uint32_t> failing_group{0};  ///< what has run out, once the plan has begun to last

long gate(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept {
    return faults_gate_call(number, a, b, c, d, e, f);
}

/// The errno that this call has to fail with, or 0.
int judge(const call& made) noexcept {
    record* r = the_record.load();
    const rule* known = rule_of(made);
    if (r == nullptr || known == nullptr || r->over.load() != 0) {
        return 0;
    }
    const std::uint32_t n = r->count.fetch_add(1) + 1;
    if (n <= calls_kept) {
        r->calls[n - 1] = made;
    }
    const std::uint32_t group = group_of(*known, the_plan.error);
    if (r->injected.load() != 0) {
        if (the_plan.lasts == 0 || group == 0 || group != failing_group.load()) {
            return 0;
        }
    } else {
        // Where other processes decide what has to be waited for, the n-th call may be another one this time.
        if (the_plan.at == 0 || n < the_plan.at || !can_fail_with(*known, the_plan.error)) {
            return 0;
        }
        failing_group.store(group);
    }
    r->injected.fetch_add(1);
    r->unmapped.fetch_add(made.number == SYS_munmap ? 1u : 0u);
    return the_plan.error;
}

/// Of the calling thread: a fork, too, begins without.
void take_part() noexcept {
    (void)gate(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 1, reinterpret_cast<long>(faults_gate_begin),
               faults_gate_end - faults_gate_begin, reinterpret_cast<long>(&selector));
}

/// rt_sigprocmask, made upon the mask that the thread gets back when the handler returns.  Our own signal is never
/// blocked: the kernel kills whoever makes a call then.
long change_mask(sigset_t& mask, int how, const std::uint64_t* set, std::uint64_t* old) noexcept {
    std::uint64_t now = 0;
    std::memcpy(&now, &mask, sizeof now);
    const std::uint64_t before = now;
    if (set != nullptr) {
        now = how == SIG_BLOCK ? now | *set : how == SIG_UNBLOCK ? now & ~*set : *set;
        now &= ~(std::uint64_t{1} << (SIGSYS - 1));
    }
    if (old != nullptr) {
        *old = before;
    }
    std::memcpy(&mask, &now, sizeof now);
    return 0;
}

void on_call(int, siginfo_t*, void* context) noexcept {
    selector = allow;
    greg_t* regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const long number = regs[REG_RAX];
    const long a = regs[REG_RDI];
    const long b = regs[REG_RSI];
    const long c = regs[REG_RDX];
    if (number == SYS_rt_sigreturn) {  // of another signal's handler: it needs the stack as it is
        regs[REG_RIP] = reinterpret_cast<greg_t>(&faults_gate_restore);
        selector = block;
        return;
    }
    if (number == SYS_rt_sigprocmask) {
        regs[REG_RAX] = change_mask(static_cast<ucontext_t*>(context)->uc_sigmask, static_cast<int>(a),
                                    reinterpret_cast<const std::uint64_t*>(b), reinterpret_cast<std::uint64_t*>(c));
        selector = block;
        return;
    }
    const call made =
        describe(static_cast<std::uint32_t>(number), static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b),
                 static_cast<std::uint64_t>(c), static_cast<std::uint64_t>(regs[REG_R10]));
    const int error = judge(made);
    const bool forks = (number == SYS_clone && (a & 0x100) == 0) || number == SYS_fork;
    const bool makes_thread = number == SYS_clone3 || number == SYS_vfork || (number == SYS_clone && !forks);
    long result = -error;
    if (error == 0 && makes_thread) {
        faults_gate_back = reinterpret_cast<void*>(regs[REG_RIP]);
        regs[REG_RIP] = reinterpret_cast<greg_t>(&faults_gate_thread);
        selector = block;
        return;
    }
    if (error == 0 || happens_all_the_same(made)) {
        result = gate(number, a, b, c, regs[REG_R10], regs[REG_R8], regs[REG_R9]);
        if (error != 0) {
            result = -error;
        }
    }
    if (forks && result == 0) {
        take_part();  // the kernel has switched it off
    }
    regs[REG_RAX] = result;
    selector = block;
}

/// As the kernel has it: the C library's sigaction would put its own way back, outside of the gate.
struct kernel_action {
    void (*handler)(int, siginfo_t*, void*);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
};

void catch_calls() noexcept {
    constexpr unsigned long has_restorer = 0x04000000;
    const kernel_action action{on_call, SA_SIGINFO | has_restorer, faults_gate_restore, 0};
    (void)gate(SYS_rt_sigaction, SIGSYS, reinterpret_cast<long>(&action), 0, sizeof action.mask);
}

}  // namespace

bool available() noexcept {
    const bool can = gate(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 1, reinterpret_cast<long>(faults_gate_begin),
                          faults_gate_end - faults_gate_begin, reinterpret_cast<long>(&selector)) == 0;
    (void)gate(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
    return can;
}

void begin(const plan& p, record& into) noexcept {
    the_plan = p;
    failing_group = 0;
    into.error = p.error;
    the_record = &into;
    catch_calls();
}

void relieve() noexcept {
    if (record* r = the_record.load(); r != nullptr) {
        r->over = 1;
    }
}

void join() noexcept {
    if (the_record.load() == nullptr) {
        return;
    }
    take_part();
    joined = true;
    selector = block;
}

void leave() noexcept {
    selector = allow;
    joined = false;
    (void)gate(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
}

paused::paused() noexcept : was_armed_(selector == block) { selector = allow; }

paused::~paused() {
    if (was_armed_) {
        selector = block;
    }
}

}  // namespace faults

#else

namespace faults {

bool available() noexcept { return false; }
void begin(const plan&, record&) noexcept {}
void relieve() noexcept {}
void join() noexcept {}
void leave() noexcept {}
paused::paused() noexcept : was_armed_(false) {}
paused::~paused() = default;

}  // namespace faults

#endif
