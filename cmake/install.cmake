# SPDX-License-Identifier: Apache-2.0
#
# What `cmake --install` puts where, so that a program outside finds vinic by
# find_package(vinic) or `pkg-config vinic`.  tests/install proves both, and
# add_subdirectory.  Everything is found relative to the files themselves: the
# installed tree may be moved.
if(NOT VINIC_INSTALL)
    return()
endif()
include(CMakePackageConfigHelpers)

install(TARGETS vinic vinic_static vipl vipl_static EXPORT vinicTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET vinic_cli)
    install(TARGETS vinic_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET vinicd)
    install(TARGETS vinicd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(FILES ${PROJECT_SOURCE_DIR}/packaging/vinicd.toml ${PROJECT_SOURCE_DIR}/packaging/vinicd.service
        ${PROJECT_SOURCE_DIR}/packaging/vinicd.socket DESTINATION ${CMAKE_INSTALL_DOCDIR}/packaging)
endif()

set(vinic_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vinic)
install(EXPORT vinicTargets NAMESPACE vinic:: DESTINATION ${vinic_package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/vinicConfig.cmake.in
    ${PROJECT_BINARY_DIR}/vinicConfig.cmake INSTALL_DESTINATION ${vinic_package_dir})
# Before 1.0 a minor version may change the interface, so it must match exactly.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vinicConfigVersion.cmake
    VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vinicConfig.cmake ${PROJECT_BINARY_DIR}/vinicConfigVersion.cmake
    DESTINATION ${vinic_package_dir})

# The .pc file names its prefix relative to itself.
set(vinic_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH vinic_pc_prefix "/${vinic_pc_dir}" "/")
string(REGEX REPLACE "/$" "" vinic_pc_prefix "${vinic_pc_prefix}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/vinic.pc.in ${PROJECT_BINARY_DIR}/vinic.pc @ONLY)
configure_file(${CMAKE_CURRENT_LIST_DIR}/vipl.pc.in ${PROJECT_BINARY_DIR}/vipl.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/vinic.pc ${PROJECT_BINARY_DIR}/vipl.pc DESTINATION ${vinic_pc_dir})

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md
    DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples
    FILES_MATCHING PATTERN "*.cc" PATTERN "*.hpp" PATTERN "*.c" PATTERN "*.h")
add_subdirectory(${PROJECT_SOURCE_DIR}/man ${PROJECT_BINARY_DIR}/man)
