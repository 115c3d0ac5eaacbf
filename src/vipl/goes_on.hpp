// SPDX-License-Identifier: Apache-2.0
//
// goes_on.hpp -- a thread of ours that calls handlers of the program's: one of them may end it with pthread_exit.
//
//   That unwinds through here and cannot be stopped.  Whose thread it was makes another, so that the next handler is
//   called as if nothing had been.  An exception that a handler lets out ends the program, as it does in any thread.
#pragma once

#include <exception>
#include <memory>
#include <thread>
#include <utility>

namespace vipl {

/// Another thread runs for `owner` from here on; the previous one ends by itself.  If none can be started, its handlers
/// are no longer called.
template <class Owner>
void replace_thread(std::thread& thread, std::shared_ptr<Owner> owner) noexcept {
    try {
        std::thread next([self = std::move(owner)] { self->run(); });
        thread.detach();
        thread = std::move(next);
    } catch (const std::exception&) {
        // Nobody is told: there is no thread to tell it.
    }
}

/// On the thread's stack, below everything that it does.  Not called when run() returns by itself: then it is over.
template <class Owner>
class goes_on {
public:
    explicit goes_on(Owner& owner) noexcept : owner_(owner) {}
    goes_on(const goes_on&) = delete;
    goes_on& operator=(const goes_on&) = delete;
    ~goes_on() {
        if (!over_) {
            owner_.go_on();
        }
    }
    void is_over() noexcept { over_ = true; }

private:
    Owner& owner_;
    bool over_ = false;
};

}  // namespace vipl
