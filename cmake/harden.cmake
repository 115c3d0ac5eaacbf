# SPDX-License-Identifier: Apache-2.0
#
# What makes a fault of memory hard to use: tests/hardening/elf reads it from the files that are built.
#
#   linked    full RELRO: what points to functions of other libraries is found at the start (BIND_NOW) and read-only
#             from then on; no executable stack; programs at random addresses (PIE)
#   compiled  stack protector, stack clash protection, checked string functions (FORTIFY), shadow stack
#
# The few files that parse a command line are not optimised, and so have no checked string functions.
#
# The path of a message pays an instruction at most (bench/cost --check).  Indirect branch tracking would cost one for
# every function, and Linux switches it on for no program: of CET only the half that it has is taken.
if(NOT VINIC_HARDEN OR VINIC_SANITIZE OR VINIC_FUZZ)
    return()  # sanitizers look closer
endif()
include(CheckPIESupported)
check_pie_supported()
add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
target_compile_options(vinic_options INTERFACE -fstack-protector-strong -fstack-clash-protection)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(vinic_options INTERFACE -fcf-protection=return)
    # The C library's start files say nothing of it; all of vinic's own code may run with one.
    add_link_options(LINKER:-z,shstk)
endif()
# Without optimisation there is nothing to be checked, and the C library says so on each file.  With it g++ complains
# of results that are left out by a cast to void; builds without it (dev, clang) look at those that count.
target_compile_options(vinic_options INTERFACE
    "$<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2;-Wno-unused-result>")
# What a message passes: no array of characters lies on its stack, and the strong protector, which guards any local
# whose address is taken, would cost it 13 instructions.
set(vinic_message_path direct/post.cc direct/datagram_vi.cc direct/engine.cc direct/hand_over.cc native/vi_poll.cc
    native/cq.cc native/data_path.cc placement/vi.cc rules/copy.cc tables/link.cc tables/rings.cc tables/space.cc)
set(vipl_message_path completion.cc cq.cc post.cc user_data.cc)
