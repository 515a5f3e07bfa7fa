/*
 * Preloaded into User Mode Linux before 6.13 on hosts with AMX.
 *
 * The guest kernel keeps a process's extended registers in a buffer that is too small for such a CPU, and
 * the host's kernel answers the short PTRACE_SETREGSET with EFAULT, on which the guest panics. Here a refused
 * write is tried again with the process's own state behind the part that the guest knows.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static char registers[1 << 16] __attribute__((aligned(64)));

long ptrace(enum __ptrace_request request, ...)
{
    static long (*real)(int, int, void *, void *);
    va_list list;
    va_start(list, request);
    int pid = va_arg(list, int);
    void *kind = va_arg(list, void *);
    void *argument = va_arg(list, void *);
    va_end(list);

    if (real == NULL)
        real = (long (*)(int, int, void *, void *)) dlsym(RTLD_NEXT, "ptrace");
    long code = real(request, pid, kind, argument);
    if (code == 0 || errno != EFAULT || request != PTRACE_SETREGSET || (long) kind != NT_X86_XSTATE)
        return code;

    struct iovec *known = argument;
    struct iovec full = {.iov_base = registers, .iov_len = sizeof registers};
    code = real(PTRACE_GETREGSET, pid, kind, &full);
    if (code != 0)
        return code;
    if (full.iov_len <= known->iov_len) {
        errno = EFAULT;
        return -1;
    }
    memcpy(registers, known->iov_base, known->iov_len);
    return real(PTRACE_SETREGSET, pid, kind, &full);
}
