# Writes OUTPUT: a weak definition of every symbol in PROCMAP, and the rows of table.h.
#
# A row of PROCMAP is name, version, "-" or "_ptsz" or "_ptds", symbol.
file(STRINGS ${PROCMAP} lines)
list(POP_FRONT lines header)
if(NOT header STREQUAL "name,min_cuda_version,per_thread,abi_symbol")
    message(FATAL_ERROR "${PROCMAP}: unknown columns: ${header}")
endif()

set(stubs "")
set(keys "")
foreach(line IN LISTS lines)
    if(NOT line MATCHES "^([A-Za-z0-9_]+),([0-9]+),(-|_ptsz|_ptds),([A-Za-z0-9_]+)$")
        message(FATAL_ERROR "${PROCMAP}: not understood: ${line}")
    endif()
    # A point sorts before all that a name may go on with; numbers of one width sort as text.
    math(EXPR version "1000000 + ${CMAKE_MATCH_2}")
    list(APPEND keys "${CMAKE_MATCH_1}.${version}.${CMAKE_MATCH_3}.${CMAKE_MATCH_4}")
    string(APPEND stubs "UNSUPPORTED(${CMAKE_MATCH_4})\n")
endforeach()
list(SORT keys COMPARE STRING CASE SENSITIVE)

set(rows "")
foreach(key IN LISTS keys)
    string(REGEX MATCH "^(.*)\\.(.*)\\.(.*)\\.(.*)$" unused ${key})
    math(EXPR version "${CMAKE_MATCH_2} - 1000000")
    set(is_per_thread true)
    if(CMAKE_MATCH_3 STREQUAL "-")
        set(is_per_thread false)
    endif()
    string(APPEND rows "\t{\"${CMAKE_MATCH_1}\", ${version}, ${is_per_thread}, "
        "(void *) ${CMAKE_MATCH_4}},\n")
endforeach()

file(WRITE ${OUTPUT} "/* Generated from driver-procmap.csv by generate.cmake. */
#include \"table.h\"
#include \"unsupported.h\"

${stubs}
const struct lookup_row lookup_rows[] = {
${rows}};
const size_t lookup_row_count = sizeof(lookup_rows) / sizeof(lookup_rows[0]);
")
