// SPDX-License-Identifier: Apache-2.0
//
// sanitized.hpp -- what watches this program: tests that starve it of memory, or lead it step by step, cannot run then.
#pragma once

namespace tests {

// clang answers a question, gcc defines a macro as 1.
#if defined(__clang__)
#define VINIC_IS_WATCHED_BY(question, macro) __has_feature(question)
#else
#define VINIC_IS_WATCHED_BY(question, macro) macro
#endif

inline constexpr bool address_sanitized =
#if VINIC_IS_WATCHED_BY(address_sanitizer, __SANITIZE_ADDRESS__)
    true;
#else
    false;
#endif

inline constexpr bool thread_sanitized =
#if VINIC_IS_WATCHED_BY(thread_sanitizer, __SANITIZE_THREAD__)
    true;
#else
    false;
#endif

#undef VINIC_IS_WATCHED_BY

inline constexpr bool sanitized = address_sanitized || thread_sanitized;

}  // namespace tests
