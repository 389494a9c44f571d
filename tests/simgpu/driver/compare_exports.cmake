# Fails unless LIBRARY exports exactly the symbols of PROCMAP.
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY}
    OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[ \t][A-Za-z] cu[A-Za-z0-9_]*" exported "${output}")
list(TRANSFORM exported REPLACE "^[ \t][A-Za-z] " "")
string(REGEX MATCHALL "[ \t][TW] [A-Za-z0-9_]*" all "${output}")
list(TRANSFORM all REPLACE "^[ \t][A-Za-z] " "")

file(STRINGS ${PROCMAP} lines)
list(POP_FRONT lines)
list(TRANSFORM lines REPLACE "^.*," "" OUTPUT_VARIABLE expected)

set(missing ${expected})
list(REMOVE_ITEM missing ${exported})
set(unknown ${all})
list(REMOVE_ITEM unknown ${expected})
list(LENGTH expected count)
if(missing OR unknown OR count LESS 600)
    message(FATAL_ERROR "of ${count} symbols missing: ${missing}\nunknown: ${unknown}")
endif()
message(STATUS "${count} symbols")
