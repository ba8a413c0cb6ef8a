include(CMakeFindDependencyMacro)
find_dependency(Eigen3 CONFIG)  # no version: Eigen 5 serves as well as 3.4, but denies being compatible
include(${CMAKE_CURRENT_LIST_DIR}/poolhead-targets.cmake)
