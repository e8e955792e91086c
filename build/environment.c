/* Keeps PYTHON* variables from the Python inside of km: they are meant for the server, or for another Python.
 *
 * Nuitka reads them as any Python does: PYTHONDEVMODE=1 crashes it, PYTHONHASHSEED=x ends it, PYTHONVERBOSE=1 makes it
 * talk.  So before main() each gets a prefix, which kilometers/__main__.py takes off again.  Only pointers are changed:
 * the environment that the kernel shows in /proc/self/environ stays the client's.
 *
 * Part of the build by nuitka_plugin.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN "_KM_"

#ifdef _MSC_VER
#include <wchar.h>

static void hide_variables(void) {
    if (!_wenviron) _wgetenv(L"PATH"); /* makes it */
    for (int at = 0; _wenviron && _wenviron[at];) {
        wchar_t *entry = _wenviron[at], *value = wcschr(entry + 1, L'=');
        if (_wcsnicmp(entry, L"PYTHON", 6) != 0 || !value || !value[1]) {
            at++;
            continue;
        }
        wchar_t *name = _wcsdup(entry), *hidden = malloc((wcslen(entry) + sizeof HIDDEN) * sizeof *hidden);
        if (!name || !hidden) return;
        name[value - entry] = 0;
        wcscat(wcscpy(hidden, L"" HIDDEN), name);
        _wputenv_s(hidden, value + 1);
        _wputenv_s(name, L"");
        at = 0; /* the table was changed */
    }
}

#pragma section(".CRT$XCU", read)
__declspec(allocate(".CRT$XCU")) void (*km_hide_variables)(void) = hide_variables;
#ifdef _WIN64
#pragma comment(linker, "/include:km_hide_variables")
#endif

#else
extern char **environ;

__attribute__((constructor)) static void hide_variables(void) {
    for (char **entry = environ; entry && *entry; entry++) {
        char *hidden = strncmp(*entry, "PYTHON", 6) == 0 ? malloc(strlen(*entry) + sizeof HIDDEN) : NULL;
        if (hidden) *entry = strcat(strcpy(hidden, HIDDEN), *entry);
    }
}
#endif
