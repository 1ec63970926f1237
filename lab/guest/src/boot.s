# SPDX-License-Identifier: MIT OR Apache-2.0
# From Xen's PVH entry (32 bits, paging off, interrupts off) to Rust in long mode, with
# the first 4 GiB mapped to themselves in 2 MiB pages.

    .section .note.xen, "a", @note
    .align 4
    .long 4                     # size of the name
    .long 4                     # size of the descriptor
    .long 18                    # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long entry32

    .section .text.boot, "ax"
    .code32
    .global entry32
entry32:
    cli
    cld

    # Page tables: one level 4 entry, four level 3 entries, 2048 large pages.
    movl $pdpt + 0x003, pml4
    movl $page_directories + 0x003, %eax
    xorl %ecx, %ecx
1:  movl %eax, pdpt(, %ecx, 8)
    addl $0x1000, %eax
    incl %ecx
    cmpl $4, %ecx
    jne 1b

    movl $0x083, %eax           # present, writable, 2 MiB
    xorl %ecx, %ecx
2:  movl %eax, page_directories(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 2b

    movl %cr4, %eax
    orl $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT: Rust's code uses SSE
    movl %eax, %cr4
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER
    rdmsr
    orl $0x100, %eax            # LME
    wrmsr
    movl %cr0, %eax
    andl $0xfffffff3, %eax      # EM and TS off
    orl $0x80000003, %eax       # paging, MP, protection
    movl %eax, %cr0

    lgdt gdt_pointer
    ljmpl $0x08, $entry64

    .code64
entry64:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    leaq stack_top(%rip), %rsp
    xorl %ebp, %ebp
    call rust_main
3:  hlt
    jmp 3b

    .section .rodata.boot, "a"
    .align 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # code, 64 bits
    .quad 0x00cf93000000ffff    # data
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .section .bss.boot, "aw", @nobits
    .align 4096
pml4:
    .skip 4096
pdpt:
    .skip 4096
page_directories:
    .skip 4 * 4096
    .global hypercall_page
hypercall_page:
    .skip 4096
    .skip 32768
stack_top:
