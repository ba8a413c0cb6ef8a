# How our own tests, benchmarks and examples are built. Nothing here reaches a consumer of poolhead.
option(POOLHEAD_WERROR "Warnings are errors in poolhead's tests, benchmarks and examples" ${PROJECT_IS_TOP_LEVEL})
option(POOLHEAD_NATIVE "Build poolhead's tests, benchmarks and examples for this machine's instruction set"
       ${PROJECT_IS_TOP_LEVEL})

if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_CXX_EXTENSIONS OFF)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set_property(CACHE CMAKE_BUILD_TYPE PROPERTY VALUE Release)
  endif()
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)  # Eigen's thread pool

add_library(poolhead_warnings INTERFACE)
target_compile_options(poolhead_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                                                   $<$<BOOL:${POOLHEAD_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC bug 105593: it takes its own AVX-512 intrinsics, inlined from Eigen, for uninitialized reads.
  target_compile_options(poolhead_warnings INTERFACE -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
target_link_libraries(poolhead_warnings INTERFACE poolhead Threads::Threads)

add_library(poolhead_development INTERFACE)
target_compile_options(poolhead_development INTERFACE $<$<BOOL:${POOLHEAD_NATIVE}>:-march=native>)
target_link_libraries(poolhead_development INTERFACE poolhead_warnings)
