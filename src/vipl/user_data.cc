// SPDX-License-Identifier: Apache-2.0
//
// user_data.cc -- a pointer that the program hangs on a VI: an extension that programs rely on.
#include "vipl/state.hpp"

using namespace vipl;

extern "C" {

VIP_PVOID VipGetUserData(VIP_VI_HANDLE ViHandle) {
    const vi* const v = all().vis.find(ViHandle);
    return v == nullptr ? nullptr : v->user_data.load();
}

void VipSetUserData(VIP_VI_HANDLE ViHandle, VIP_PVOID UserData) {
    if (vi* const v = all().vis.find(ViHandle); v != nullptr) {
        v->user_data.store(UserData);
    }
}

}  // extern "C"
