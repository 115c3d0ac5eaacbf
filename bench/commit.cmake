# SPDX-License-Identifier: Apache-2.0
# Writes OUTPUT, a header that names the commit of SOURCE; touches it only when that has changed.
cmake_minimum_required(VERSION 3.25)
set(commit "unknown")
find_program(git NAMES git)
if(git)
    execute_process(COMMAND ${git} -C ${SOURCE} rev-parse --short=12 HEAD
        OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
    if(NOT failed)
        set(commit "${head}")
        # Sources that differ from the commit, as far as they become part of the programs.
        execute_process(
            COMMAND ${git} -C ${SOURCE} --no-optional-locks status --porcelain --untracked-files=no -- src include bench
            OUTPUT_VARIABLE changes ERROR_QUIET)
        if(changes)
            string(APPEND commit " with changes")
        endif()
    endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define VINIC_BENCH_COMMIT \"${commit}\"\n")
