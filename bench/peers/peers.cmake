# The rivals that this machine has; nothing is downloaded for them. Included, because targets that find_package makes
# are seen by one folder only.
option(POOLHEAD_BENCH_PEERS "Time the rivals that are installed, too" ON)
if(NOT POOLHEAD_BENCH_PEERS)
  return()
endif()

# poolhead_peer(<name> <libraries>...): <name>.cpp, and a definition that tells the harness. A library of
# objects, because the headers of these libraries are not clean under our warnings.
function(poolhead_peer name)
  add_library(poolhead_peer_${name} OBJECT peers/${name}.cpp)
  target_include_directories(poolhead_peer_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_features(poolhead_peer_${name} PRIVATE cxx_std_17)
  target_link_libraries(poolhead_peer_${name} PRIVATE ${ARGN})
  string(TOUPPER ${name} upper)
  target_compile_definitions(poolhead_bench PRIVATE POOLHEAD_BENCH_${upper})
  target_link_libraries(poolhead_bench PRIVATE poolhead_peer_${name} ${ARGN})
endfunction()

poolhead_peer(eigen poolhead_development)
target_compile_definitions(poolhead_peer_eigen PRIVATE EIGEN_USE_THREADS)

find_package(Torch CONFIG QUIET)
if(Torch_FOUND)
  poolhead_peer(libtorch torch ${CMAKE_DL_LIBS})
endif()

find_package(OpenMP COMPONENTS CXX QUIET)
find_package(dnnl CONFIG QUIET)
if(dnnl_FOUND AND OpenMP_CXX_FOUND)
  poolhead_peer(onednn DNNL::dnnl OpenMP::OpenMP_CXX)
endif()
message(STATUS "Rivals to be timed: Eigen; libtorch: ${Torch_FOUND}; oneDNN: ${dnnl_FOUND}")
