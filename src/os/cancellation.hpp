// SPDX-License-Identifier: Apache-2.0
//
// cancellation.hpp -- pthread_cancel is kept out of calls that it would leave half-way.
//
//   A cancelled thread unwinds from the next cancellation point that it comes to: nearly every system call that may
//   wait, sleep or close, and those are everywhere below a call of ours, where locks are held and nothing expects to
//   end.  So cancellation is off inside, and what has come meanwhile acts at the caller's next point.
//
//   A wait that the caller may be cancelled in looks by itself, at a moment when it holds nothing.
#pragma once

#include <pthread.h>

namespace vinic::os {

class cancellation_off {
public:
    cancellation_off() noexcept { (void)::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    cancellation_off(const cancellation_off&) = delete;
    cancellation_off& operator=(const cancellation_off&) = delete;
    ~cancellation_off() { (void)::pthread_setcancelstate(before_, nullptr); }

    /// Ends the thread here if it was cancelled, and the caller allows it.  It unwinds through its frames as an
    /// exception does, but not as one that could be caught for good.
    void point() const {
        int off = 0;
        (void)::pthread_setcancelstate(before_, nullptr);
        ::pthread_testcancel();
        (void)::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &off);
    }

private:
    int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace vinic::os
