# What find_package(poolhead) finds: the headers, the target, the version.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/poolhead)  # share: nothing here depends on the machine
write_basic_package_version_file(${PROJECT_BINARY_DIR}/poolhead-config-version.cmake
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(TARGETS poolhead EXPORT poolhead-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT poolhead-targets NAMESPACE poolhead:: DESTINATION ${package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/cmake/poolhead-config.cmake
              ${PROJECT_BINARY_DIR}/poolhead-config-version.cmake DESTINATION ${package_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/poolhead DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
