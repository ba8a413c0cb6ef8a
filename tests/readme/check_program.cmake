# cmake -DPROGRAM=<program> -DOUTPUT=<file of what it must print; empty: anything> -P check_program.cmake
execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE result OUTPUT_VARIABLE printed ERROR_VARIABLE errors)
file(READ ${OUTPUT} expected)
if(NOT result STREQUAL 0)
  message(FATAL_ERROR "it ended with ${result}:\n${errors}")
elseif(NOT expected STREQUAL "" AND NOT printed STREQUAL expected)
  message(FATAL_ERROR "README.md says that it prints:\n${expected}\nbut it prints:\n${printed}")
endif()
