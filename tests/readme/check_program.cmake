# cmake -DPROGRAM=<program> -DOUTPUT=<file of what it must print; empty: anything> -P check_program.cmake
execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE result OUTPUT_VARIABLE printed)
file(READ ${OUTPUT} expected)
if(NOT result STREQUAL 0)
  message(FATAL_ERROR "The program ended with ${result}.")
elseif(NOT expected STREQUAL "" AND NOT printed STREQUAL expected)
  message("README.md says that the program prints:\n${expected}\nIt prints:\n${printed}")
  message(FATAL_ERROR "README.md is wrong, or the program is.")
endif()
