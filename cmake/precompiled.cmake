# SPDX-License-Identifier: Apache-2.0
#
# Half of compiling a file is reading the standard library's headers. Here they are compiled once for all files that
# are compiled alike:
#
#   library    what src/ gives to others; of a build that is shipped only the NIC of vinicd, for the library itself
#              is compiled file by file
#   programs   the command line, vinicd, the demonstration, the benchmarks and the examples
#   tests      the same with GoogleTest, and not optimised
#
# A target with options of its own has DISABLE_PRECOMPILE_HEADERS, a file with some SKIP_PRECOMPILE_HEADERS.
# CMAKE_DISABLE_PRECOMPILE_HEADERS=ON makes a build that shows whether each file includes what it needs: the compilers
# of ./check --long see the files so.
set(vinic_headers
    <algorithm> <array> <atomic> <bit> <chrono> <csignal> <cstdio> <cstdlib> <cstring> <deque> <expected> <filesystem>
    <fstream> <functional> <map> <memory> <mutex> <optional> <random> <set> <span> <sstream> <string> <thread> <vector>)

# vinic_precompile(NAME LIBRARIES library... HEADERS header...): with the options of the directory that calls it.
function(vinic_precompile name)
    cmake_parse_arguments(arg "" "" "LIBRARIES;HEADERS" ${ARGN})
    set(source ${CMAKE_BINARY_DIR}/precompiled/${name}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "")  # an object library has a source
    add_library(vinic_headers_of_${name} OBJECT ${source})
    target_link_libraries(vinic_headers_of_${name} PRIVATE vinic_options ${arg_LIBRARIES})
    target_precompile_headers(vinic_headers_of_${name} PRIVATE ${vinic_headers} ${arg_HEADERS})
    if(NOT name STREQUAL "library")
        vinic_for_programs(vinic_headers_of_${name})
    endif()
endfunction()

# Libraries that become part of programs only are compiled like these, so that they can share.
function(vinic_for_programs target)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIE)
endfunction()

# vinic_use_precompiled(NAME DIRECTORY): by each target with C++ in DIRECTORY and below.
function(vinic_use_precompiled name directory)
    get_property(below DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
    foreach(each IN LISTS below)
        vinic_use_precompiled(${name} ${each})
    endforeach()
    get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target IN LISTS targets)
        get_target_property(type ${target} TYPE)
        get_target_property(sources ${target} SOURCES)
        get_target_property(without ${target} DISABLE_PRECOMPILE_HEADERS)
        get_target_property(own ${target} PRECOMPILE_HEADERS)
        get_target_property(chosen ${target} PRECOMPILE_HEADERS_REUSE_FROM)
        if(without OR own OR chosen OR NOT sources MATCHES "\\.cc(;|$)"
           OR NOT type MATCHES "^(EXECUTABLE|STATIC_LIBRARY|OBJECT_LIBRARY)$")
            continue()
        endif()
        if(NOT type STREQUAL "EXECUTABLE" AND NOT name STREQUAL "library")
            vinic_for_programs(${target})
        endif()
        target_precompile_headers(${target} REUSE_FROM vinic_headers_of_${name})
    endforeach()
endfunction()
