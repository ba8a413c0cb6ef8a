# cmake -DCOMPILER=<c++> -DTWIN=<file> -DINCLUDE_DIRS=<list> -P check_twin.cmake
list(TRANSFORM INCLUDE_DIRS PREPEND -isystem)
set(compile ${COMPILER} -std=c++20 -fsyntax-only -fno-diagnostics-show-caret ${INCLUDE_DIRS} ${TWIN})

file(STRINGS ${TWIN} sentence REGEX "^// EXPECT: ")
string(REPLACE "// EXPECT: " "" sentence "${sentence}")
if(sentence STREQUAL "")
  message(FATAL_ERROR "${TWIN} has no line \"// EXPECT: sentence\"")
endif()

execute_process(COMMAND ${compile} RESULT_VARIABLE failed ERROR_VARIABLE messages)
if(failed)
  message(FATAL_ERROR "The correct twin does not compile:\n${messages}")
endif()

execute_process(COMMAND ${compile} -DPOOLHEAD_WRONG RESULT_VARIABLE failed ERROR_VARIABLE messages)
if(NOT failed)
  message(FATAL_ERROR "The wrong twin compiles; expected: ${sentence}")
endif()
string(FIND "${messages}" "${sentence}" found)
if(found EQUAL -1)
  message(FATAL_ERROR "The wrong twin fails without the sentence \"${sentence}\":\n${messages}")
endif()
