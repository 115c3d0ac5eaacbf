// SPDX-License-Identifier: Apache-2.0
//
// preload.cc -- for LD_PRELOAD: the system calls of a whole program fail, as VINIC_FAULT=AT:ERRNO:LASTS says.
//
//   VINIC_FAULT_RECORD names a file that holds a faults::record; what happens is written there.  All threads take
//   part, from the first instruction of main() on.
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "faults/trap.hpp"

namespace {

struct beginning {
    void* (*run)(void*);
    void* with;
};

void* begin_thread(void* given) {
    const std::unique_ptr<beginning> b(static_cast<beginning*>(given));
    faults::join();
    return b->run(b->with);
}

__attribute__((constructor)) void start() {
    const char* text = std::getenv("VINIC_FAULT");
    const char* path = std::getenv("VINIC_FAULT_RECORD");
    faults::plan p;
    if (text == nullptr || path == nullptr || std::sscanf(text, "%u:%d:%u", &p.at, &p.error, &p.lasts) != 3) {
        return;
    }
    ::mallopt(M_MMAP_MAX, 0);  // mappings are then those that the program makes
    ::mallopt(M_ARENA_MAX, 1);
    const int fd = ::open(path, O_RDWR | O_CLOEXEC);
    void* seen = ::mmap(nullptr, sizeof(faults::record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (seen != MAP_FAILED) {
        faults::begin(p, *static_cast<faults::record*>(seen));
        faults::join();
    }
}

}  // namespace

/// What libstdc++ makes threads with.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* made, const pthread_attr_t* how,
                                                                     void* (*run)(void*), void* with) {
    using function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const auto real = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "pthread_create"));
    auto b = std::make_unique<beginning>(beginning{run, with});
    const int failed = real(made, how, begin_thread, b.get());
    if (failed == 0) {
        (void)b.release();
    }
    return failed;
}
