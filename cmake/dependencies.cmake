# Every dependency is looked for first: a target of the surrounding project, then an installed package. Only
# what the machine lacks is downloaded, at a pinned version.
include(FetchContent)
if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.25)
  set(poolhead_system SYSTEM)  # spares downloaded headers our warnings; older CMakes do not know the word
endif()

# poolhead_find_or_fetch(<package> <target> <url> <sha256> [<more arguments of FetchContent_Declare>])
# A macro, because some packages set variables (Catch2: CMAKE_MODULE_PATH) that their user needs.
macro(poolhead_find_or_fetch package target url sha256)
  if(NOT TARGET ${target})
    find_package(${package} CONFIG QUIET)
  endif()
  if(NOT TARGET ${target})
    message(STATUS "${package} is not installed: downloading ${url}")
    # SYSTEM goes first: CMake 3.25 would take it for one more value of the keyword before it.
    FetchContent_Declare(${package} ${poolhead_system} URL ${url} URL_HASH SHA256=${sha256} ${ARGN})
    FetchContent_MakeAvailable(${package})
  endif()
endmacro()

# Eigen 3.4 or any later one. No version is asked of find_package: Eigen 5 would answer that it is not 3.4.
# A downloaded Eigen is only unpacked (there is no such SOURCE_SUBDIR to build).
macro(poolhead_require_eigen)
  poolhead_find_or_fetch(Eigen3 Eigen3::Eigen
    https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
    8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72 SOURCE_SUBDIR none)
  if(NOT TARGET Eigen3::Eigen)
    add_library(Eigen3::Eigen INTERFACE IMPORTED GLOBAL)
    target_include_directories(Eigen3::Eigen INTERFACE ${eigen3_SOURCE_DIR})
  elseif(Eigen3_VERSION AND Eigen3_VERSION VERSION_LESS 3.4)
    message(FATAL_ERROR "poolhead needs Eigen 3.4 or later; ${Eigen3_DIR} is ${Eigen3_VERSION}")
  endif()
endmacro()

macro(poolhead_require_catch2)
  poolhead_find_or_fetch(Catch2 Catch2::Catch2WithMain
    https://github.com/catchorg/Catch2/archive/refs/tags/v3.7.1.tar.gz
    c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c)
  if(catch2_SOURCE_DIR)
    list(APPEND CMAKE_MODULE_PATH ${catch2_SOURCE_DIR}/extras)
  endif()
endmacro()

macro(poolhead_require_benchmark)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  poolhead_find_or_fetch(benchmark benchmark::benchmark
    https://github.com/google/benchmark/archive/refs/tags/v1.8.3.tar.gz
    6bc180a57d23d4d9515519f92b0c83d61b05b5bab188961f36ac7b06b0d9e9ce)
endmacro()

macro(poolhead_require_cli11)
  poolhead_find_or_fetch(CLI11 CLI11::CLI11
    https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz
    f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
endmacro()

# What the headers of io need.
macro(poolhead_require_io)
  poolhead_find_or_fetch(nlohmann_json nlohmann_json::nlohmann_json
    https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
  find_package(ZLIB)
  if(NOT ZLIB_FOUND)
    message(FATAL_ERROR "poolhead's tests and examples read .gz files and need zlib: install zlib1g-dev "
                        "(Debian, Ubuntu), zlib-devel (Fedora), or switch POOLHEAD_BUILD_TESTS and "
                        "POOLHEAD_BUILD_EXAMPLES off")
  endif()
endmacro()

# stb_image and stb_image_write, as the target poolhead_stb.
macro(poolhead_require_stb)
  if(NOT TARGET poolhead_stb)
    find_path(POOLHEAD_STB_INCLUDE_DIR stb_image_write.h PATH_SUFFIXES stb)
    if(NOT POOLHEAD_STB_INCLUDE_DIR)
      set(stb_commit 5736b15f7ea0ffb08dd38af21067c314d6a3aae9)
      message(STATUS "stb is not installed: downloading https://github.com/nothings/stb at ${stb_commit}")
      FetchContent_Declare(stb ${poolhead_system} URL https://github.com/nothings/stb/archive/${stb_commit}.tar.gz
        URL_HASH SHA256=d00921d49b06af62aa6bfb97c1b136bec661dd11dd4eecbcb0da1f6da7cedb4c SOURCE_SUBDIR none)
      FetchContent_MakeAvailable(stb)
      set(POOLHEAD_STB_INCLUDE_DIR ${stb_SOURCE_DIR})
    endif()
    add_library(poolhead_stb INTERFACE)
    target_include_directories(poolhead_stb SYSTEM INTERFACE ${POOLHEAD_STB_INCLUDE_DIR})
  endif()
endmacro()
