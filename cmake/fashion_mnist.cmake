# cmake [-DDIRECTORY=<folder>] -P cmake/fashion_mnist.cmake
#
# Downloads Fashion-MNIST (30 MB) from its official address and checks it against the published MD5 sums. Files that are
# there and right are kept, what is broken is downloaded again: run it as often as it takes. A file appears under its name
# only when it is whole and verified.
cmake_minimum_required(VERSION 3.21)

if(NOT DEFINED DIRECTORY)
  set(DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../build/data/fashion-mnist)
endif()
if(NOT DEFINED ADDRESS)
  set(ADDRESS http://fashion-mnist.s3-website.eu-central-1.amazonaws.com)
endif()
get_filename_component(DIRECTORY ${DIRECTORY} ABSOLUTE)

set(names train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz)
set(sums 8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe bef4ecab320f06d8554ea6380940ec79
         bb300cfdad3c16e7a12a480ee83cd310)

function(verified file sum result)
  set(${result} FALSE PARENT_SCOPE)
  if(EXISTS ${file})
    file(MD5 ${file} found)
    if(found STREQUAL sum)
      set(${result} TRUE PARENT_SCOPE)
    endif()
  endif()
endfunction()

find_program(CURL curl)
foreach(name sum IN ZIP_LISTS names sums)
  set(file ${DIRECTORY}/${name})
  verified(${file} ${sum} there)
  if(there)
    message(STATUS "${file}: already there, and right")
    continue()
  endif()
  file(MAKE_DIRECTORY ${DIRECTORY})
  message(STATUS "${file}: downloading ${ADDRESS}/${name}")
  # curl goes on where an earlier attempt stopped; CMake alone begins again.
  if(CURL)
    execute_process(COMMAND ${CURL} --fail --location --silent --show-error --retry 3 --connect-timeout 30
                            --continue-at - --output ${file}.part ${ADDRESS}/${name}
                    RESULT_VARIABLE code ERROR_VARIABLE reason)
  else()
    file(DOWNLOAD ${ADDRESS}/${name} ${file}.part STATUS status INACTIVITY_TIMEOUT 60)
    list(POP_FRONT status code reason)
  endif()
  verified(${file}.part ${sum} right)
  if(right)
    file(RENAME ${file}.part ${file})
    message(STATUS "${file}: verified")
  elseif(code EQUAL 22 OR code EQUAL 33 OR code EQUAL 0)
    # The server refuses to go on from here, or did, from wrong bytes: only a new beginning can end well.
    file(REMOVE ${file}.part)
    message(FATAL_ERROR "${ADDRESS}/${name} did not give the published file, whose MD5 sum is ${sum}. Run this again; "
                        "what came is removed.")
  else()
    string(STRIP "${reason}" reason)
    message(FATAL_ERROR "${ADDRESS}/${name} could not be downloaded (${reason}). What came is kept: run this again to go on.")
  endif()
endforeach()
message(STATUS "Fashion-MNIST is in ${DIRECTORY}")
