/* SPDX-License-Identifier: Apache-2.0
 *
 * vipl.h -- the Virtual Interface Provider Library (VIPL 1.0): the VI Architecture's C interface.
 *
 * Written for C from gnu89 on and for C++; link with -lvipl.  docs/vipl.md says what this provider
 * does where the architecture leaves a choice, and which environment variables it reads.
 *
 * Words that hold for every function:
 *   - Handles are opaque; NULL is none.  A handle that is not live gives VIP_INVALID_PARAMETER.
 *   - Time-outs are milliseconds; VIP_INFINITE (and 0xFFFFFFFF) is no limit.
 *   - Any function may be called from any thread at any time, also from a handler (ThreadSafe is
 *     VIP_TRUE).  Done never blocks behind a thread that sits in Wait.
 *   - OUT pointers must not be NULL.  Where a function gives VIP_INVALID_PARAMETER for a bad
 *     handle, its pointer OUT parameters that can be written are set to NULL.
 *   - A descriptor, and the buffers it names, belong to the provider from Post until Done, Wait or
 *     a Notify handler hands the descriptor back.
 */
#ifndef VIPL_H
#define VIPL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef IN
#define IN
#endif
#ifndef OUT
#define OUT
#endif

#ifdef __GNUC__
#define VIPL_API __attribute__((visibility("default")))
#define VIPL_EXTENSION __extension__
#else
#define VIPL_API
#define VIPL_EXTENSION
#endif

/* ---- scalar types ------------------------------------------------------------------------- */

typedef void* VIP_PVOID;
typedef int VIP_BOOLEAN;
typedef char VIP_CHAR;
typedef unsigned char VIP_UCHAR;
typedef short VIP_SHORT;
typedef unsigned short VIP_USHORT;
typedef long VIP_LONG;
typedef unsigned long VIP_ULONG;
typedef uint64_t VIP_UINT64;
typedef uint32_t VIP_UINT32;
typedef uint16_t VIP_UINT16;
typedef uint8_t VIP_UINT8;

#define VIP_TRUE 1
#define VIP_FALSE 0

typedef VIP_PVOID VIP_QOS;
typedef VIP_PVOID VIP_NIC_HANDLE;
typedef VIP_PVOID VIP_VI_HANDLE;
typedef VIP_PVOID VIP_CQ_HANDLE;
typedef VIP_PVOID VIP_PROTECTION_HANDLE;
typedef VIP_PVOID VIP_CONN_HANDLE;
typedef VIP_PVOID VIP_EVENT_HANDLE;
/** Names a registered region in descriptors, also a peer's.  Never 0 and never 0xFFFFFFFF. */
typedef VIP_UINT32 VIP_MEM_HANDLE;
/** A set of the VIP_SERVICE_ bits; exactly one of them in VIP_VI_ATTRIBUTES. */
typedef VIP_USHORT VIP_RELIABILITY_LEVEL;

#define VIP_INFINITE (~0UL)
#define VIP_SMI_AUTODISCOVERY 1UL

#define VIP_SERVICE_UNRELIABLE 0x01
#define VIP_SERVICE_RELIABLE_DELIVERY 0x02
#define VIP_SERVICE_RELIABLE_RECEPTION 0x04
#define VIP_BASE_SERVICES 0x07
/* Private bits of one historical provider; this one offers neither. */
#define VIP_SERVICE_ACK (1 << 14)
#define VIP_SERVICE_DFC (1 << 15)

/* ---- descriptors -------------------------------------------------------------------------- */

/** A descriptor starts at a multiple of this many bytes. */
#define VIP_DESCRIPTOR_ALIGNMENT 64

struct _VIP_DESCRIPTOR;

/** An address: 64 bits wide on every machine. */
typedef union _VIP_PVOID64 {
    VIP_UINT64 AddressBits;
    VIP_PVOID Address;
    struct _VIP_DESCRIPTOR* Descriptor;
} VIP_PVOID64;

/** First 32 bytes of a descriptor. */
typedef struct _VIP_CONTROL_SEGMENT {
    VIP_PVOID64 Next;          /**< the provider's while posted, and 0 then */
    VIP_MEM_HANDLE NextHandle; /**< the provider's while posted */
    VIP_UINT16 SegCount;       /**< segments that follow, the address segment among them; 0 is legal */
    VIP_UINT16 Control;        /**< VIP_CONTROL_ bits */
    VIP_UINT32 Reserved;       /**< 0 */
    VIP_UINT32 ImmediateData;  /**< given on send, delivered on receive */
    VIP_UINT32 Length;         /**< bytes of all data segments; after a receive: bytes received */
    VIP_UINT32 Status;         /**< VIP_STATUS_ bits, VIP_STATUS_DONE last */
} VIP_CONTROL_SEGMENT;

/** A place in the peer's memory: first segment of an RDMA descriptor. */
typedef struct _VIP_ADDRESS_SEGMENT {
    VIP_PVOID64 Data;
    VIP_MEM_HANDLE Handle;
    VIP_UINT32 Reserved; /**< 0 */
} VIP_ADDRESS_SEGMENT;

/** A piece of local registered memory. */
typedef struct _VIP_DATA_SEGMENT {
    VIP_PVOID64 Data;
    VIP_MEM_HANDLE Handle;
    VIP_UINT32 Length; /**< bytes */
} VIP_DATA_SEGMENT;

typedef union _VIP_DESCRIPTOR_SEGMENT {
    VIP_ADDRESS_SEGMENT Remote;
    VIP_DATA_SEGMENT Local;
} VIP_DESCRIPTOR_SEGMENT;

/** A descriptor, in both historical dialects: CS and DS, or Control and Data.  More segments may
 *  follow behind the two that are declared (room for them is the program's to allocate). */
VIPL_EXTENSION typedef struct _VIP_DESCRIPTOR {
    VIPL_EXTENSION union {
        VIP_CONTROL_SEGMENT CS;
        VIP_CONTROL_SEGMENT Control;
    };
    VIPL_EXTENSION union {
        VIP_DESCRIPTOR_SEGMENT DS[2];
        VIP_DATA_SEGMENT Data[2];
    };
} VIP_DESCRIPTOR;

#define VIP_CONTROL_OP_SENDRECV 0x0000
#define VIP_CONTROL_OP_RDMAWRITE 0x0001
#define VIP_CONTROL_OP_RDMAREAD 0x0002
#define VIP_CONTROL_OP_RESERVED 0x0003
#define VIP_CONTROL_OP_MASK 0x0003
#define VIP_CONTROL_IMMEDIATE 0x0004 /* carry ImmediateData: send and RDMA write; ignored on a receive */
#define VIP_CONTROL_QFENCE 0x0008    /* start after all earlier RDMA reads of this send queue */
#define VIP_CONTROL_RESERVED 0xFFF0

#define VIP_STATUS_DONE 0x00000001
#define VIP_STATUS_FORMAT_ERROR 0x00000002
#define VIP_STATUS_PROTECTION_ERROR 0x00000004
#define VIP_STATUS_LENGTH_ERROR 0x00000008
#define VIP_STATUS_PARTIAL_ERROR 0x00000010
#define VIP_STATUS_DESC_FLUSHED_ERROR 0x00000020
#define VIP_STATUS_TRANSPORT_ERROR 0x00000040
#define VIP_STATUS_RDMA_PROT_ERROR 0x00000080
#define VIP_STATUS_REMOTE_DESC_ERROR 0x00000100
#define VIP_STATUS_ERROR_MASK 0x000001FE
#define VIP_STATUS_OP_SEND 0x00000000
#define VIP_STATUS_OP_RECEIVE 0x00010000
#define VIP_STATUS_OP_RDMA_WRITE 0x00020000
#define VIP_STATUS_OP_REMOTE_RDMA_WRITE 0x00030000
#define VIP_STATUS_OP_RDMA_READ 0x00040000
#define VIP_STATUS_OP_MASK 0x00070000
#define VIP_STATUS_IMMEDIATE 0x00080000
#define VIP_STATUS_RESERVED 0xFFF0FE00u

/* ---- enumerations ------------------------------------------------------------------------- */

typedef enum {
    VIP_SUCCESS = 0,
    VIP_NOT_DONE = 1,
    VIP_INVALID_PARAMETER = 2,
    VIP_ERROR_RESOURCE = 3,
    VIP_TIMEOUT = 4,
    VIP_REJECT = 5,
    VIP_INVALID_RELIABILITY_LEVEL = 6,
    VIP_INVALID_MTU = 7,
    VIP_INVALID_QOS = 8,
    VIP_INVALID_PTAG = 9,
    VIP_INVALID_RDMAREAD = 10,
    VIP_DESCRIPTOR_ERROR = 11,
    VIP_ERROR = VIP_DESCRIPTOR_ERROR,
    VIP_INVALID_STATE = 12,
    VIP_ERROR_NAMESERVICE = 13,
    VIP_NO_MATCH = 14,
    VIP_NOT_REACHABLE = 15,
    VIP_ERROR_NOT_SUPPORTED = 16
} VIP_RETURN;

typedef enum {
    VIP_STATE_IDLE = 0,
    VIP_STATE_CONNECTED = 1,
    VIP_STATE_CONNECT_PENDING = 2,
    VIP_STATE_ERROR = 3
} VIP_VI_STATE;

/** What an asynchronous error reports. */
typedef enum {
    VIP_ERROR_POST_DESC = 0,      /**< a posted descriptor's alignment, handle or Next is bad */
    VIP_ERROR_CONN_LOST = 1,      /**< the VI left Connected though nobody here asked for it */
    VIP_ERROR_RECVQ_EMPTY = 2,    /**< a message was dropped: no receive descriptor */
    VIP_ERROR_VI_OVERRUN = 3,     /**< more descriptors posted than the queue holds */
    VIP_ERROR_RDMAW_PROT = 4,     /**< a peer's RDMA write was refused */
    VIP_ERROR_RDMAW_DATA = 5,     /**< a peer's RDMA write arrived corrupt */
    VIP_ERROR_RDMAW_ABORT = 6,    /**< a peer's RDMA write ended half-way */
    VIP_ERROR_RDMAR_PROT = 7,     /**< a peer's RDMA read was refused */
    VIP_ERROR_COMP_PROT = 8,      /**< a descriptor could not be written to when it completed */
    VIP_ERROR_RDMA_TRANSPORT = 9, /**< the transport failed under an RDMA operation */
    VIP_ERROR_CATASTROPHIC = 10   /**< the device is unusable */
} VIP_ERROR_CODE;

typedef enum {
    VIP_RESOURCE_NIC = 0,
    VIP_RESOURCE_VI = 1,
    VIP_RESOURCE_CQ = 2,
    VIP_RESOURCE_DESCRIPTOR = 3
} VIP_RESOURCE_CODE;

/* ---- structures --------------------------------------------------------------------------- */

/** HostAddressLen bytes of host address, then DiscriminatorLen bytes of discriminator: allocate
 *  sizeof(VIP_NET_ADDRESS) + NicAddressLen + the discriminator's length. */
typedef struct _VIP_NET_ADDRESS {
    VIP_UINT16 HostAddressLen;
    VIP_UINT16 DiscriminatorLen;
    VIP_UINT8 HostAddress[1];
} VIP_NET_ADDRESS;

typedef struct _VIP_NIC_ATTRIBUTES {
    VIP_CHAR Name[64]; /**< the device's address, such as "shm:clanvi0" */
    VIP_ULONG HardwareVersion;
    VIP_ULONG ProviderVersion;
    VIP_UINT16 NicAddressLen;         /**< 6 */
    const VIP_UINT8* LocalNicAddress; /**< the provider's storage, valid while the NIC is open */
    VIP_BOOLEAN ThreadSafe;           /**< VIP_TRUE */
    VIP_UINT16 MaxDiscriminatorLen;   /**< 64 */
    VIP_ULONG MaxRegisterBytes;       /**< all regions together */
    VIP_ULONG MaxRegisterRegions;
    VIP_ULONG MaxRegisterBlockBytes; /**< one region */
    VIP_ULONG MaxVI;
    VIP_ULONG MaxDescriptorsPerQueue; /**< 1024 */
    VIP_ULONG MaxSegmentsPerDesc;     /**< 252, the address segment among them */
    VIP_ULONG MaxCQ;
    VIP_ULONG MaxCQEntries;
    VIP_ULONG MaxTransferSize; /**< bytes of one descriptor */
    VIP_ULONG NativeMTU;       /**< bytes; a message is never cut, so this is a size for buffers */
    VIP_ULONG MaxPtags;
    VIP_RELIABILITY_LEVEL ReliabilityLevelSupport;
    VIP_RELIABILITY_LEVEL RDMAReadSupport; /**< the levels at which RDMA read works */
} VIP_NIC_ATTRIBUTES;

typedef struct _VIP_VI_ATTRIBUTES {
    VIP_RELIABILITY_LEVEL ReliabilityLevel; /**< one VIP_SERVICE_ bit; both sides alike */
    VIP_ULONG MaxTransferSize;              /**< bytes, from 1; both sides alike */
    VIP_QOS QoS;                            /**< compared bit by bit, otherwise unused; both sides alike */
    VIP_PROTECTION_HANDLE Ptag;             /**< NULL: matches any memory of this NIC handle (see docs/vipl.md) */
    VIP_BOOLEAN EnableRdmaWrite;            /**< the peer may RDMA write through this VI */
    VIP_BOOLEAN EnableRdmaRead;             /**< the peer may RDMA read through this VI */
} VIP_VI_ATTRIBUTES;

typedef struct _VIP_MEM_ATTRIBUTES {
    VIP_PROTECTION_HANDLE Ptag;
    VIP_BOOLEAN EnableRdmaWrite; /**< peers may RDMA write here */
    VIP_BOOLEAN EnableRdmaRead;  /**< peers may RDMA read here */
} VIP_MEM_ATTRIBUTES;

typedef struct _VIP_ERROR_DESCRIPTOR {
    VIP_NIC_HANDLE NicHandle;
    VIP_VI_HANDLE ViHandle;         /**< NULL if no VI is concerned */
    VIP_CQ_HANDLE CQHandle;         /**< NULL if no completion queue is concerned */
    VIP_DESCRIPTOR* DescriptorPtr;  /**< NULL if no descriptor is concerned */
    VIP_ULONG OpCode;               /**< the descriptor's VIP_STATUS_OP_ bits */
    VIP_RESOURCE_CODE ResourceCode; /**< what ErrorCode is about */
    VIP_ERROR_CODE ErrorCode;
} VIP_ERROR_DESCRIPTOR;

/** In and out of VipQuerySystemManagementInfo(VIP_SMI_AUTODISCOVERY). */
typedef struct _VIP_AUTODISCOVERY_LIST {
    VIP_ULONG NumberOfHops;        /**< out: 1, everything is one hop away */
    VIP_NET_ADDRESS** ADAddrArray; /**< NumAdAddrs pointers to room for an address each, or NULL to count */
    VIP_ULONG NumAdAddrs;          /**< in: room in ADAddrArray; out: addresses that there are */
} VIP_AUTODISCOVERY_LIST;

/** Called by a thread of the provider that holds no lock; may call any function, exit() or abort(). */
typedef void (*VIP_ERROR_HANDLER)(VIP_PVOID Context, VIP_ERROR_DESCRIPTOR* ErrorDesc);
typedef void (*VIP_VI_CALLBACK)(VIP_PVOID Context, VIP_NIC_HANDLE NicHandle, VIP_VI_HANDLE ViHandle,
                                VIP_DESCRIPTOR* Descriptor);
typedef void (*VIP_CQ_CALLBACK)(VIP_PVOID Context, VIP_NIC_HANDLE NicHandle, VIP_VI_HANDLE ViHandle,
                                VIP_BOOLEAN RecvQueue);

/* ---- NIC ---------------------------------------------------------------------------------- */

/** Opens the device that the last component of DeviceName names ("/dev/clanvi0" is shm:clanvi0), or
 *  the one that VINIC_VIPL_DEVICE names.  Each call gives a handle of its own, with its own memory,
 *  protection tags and VIs.  The handle is the caller's until VipCloseNic.
 *  VIP_INVALID_PARAMETER: a NULL parameter or no name at all, or there is no such NIC: one that
 *  VINIC_VIPL_NICS does not list or, without such a list, whose name ends in a number other than 0.
 *  VIP_ERROR_RESOURCE: the device cannot be opened or a setting is malformed; a line on stderr says
 *  why. */
VIPL_API VIP_RETURN VipOpenNic(IN const VIP_CHAR* DeviceName, OUT VIP_NIC_HANDLE* NicHandle);

/** Closes the NIC handle and everything made through it: connections are ended, memory deregistered,
 *  handles of its VIs, CQs and tags are dead afterwards, pending notifications are cancelled.
 *  Threads that wait in a call on one of them come back with VIP_INVALID_PARAMETER.
 *  VIP_INVALID_PARAMETER: not an open NIC. */
VIPL_API VIP_RETURN VipCloseNic(IN VIP_NIC_HANDLE NicHandle);

/** What the NIC is and how much of everything it holds.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipQueryNic(IN VIP_NIC_HANDLE NicHandle, OUT VIP_NIC_ATTRIBUTES* Attributes);

/* ---- VI ----------------------------------------------------------------------------------- */

/** Makes a VI in state Idle.  A queue whose CQ handle is NULL is waited for on the VI itself; both
 *  queues may use one CQ.  ViAttribs is only read during the call.
 *  VIP_INVALID_PARAMETER: NULL pointer, NIC, or a CQ that is not one of this NIC handle.
 *  VIP_INVALID_RELIABILITY_LEVEL: not exactly one known bit.  VIP_INVALID_MTU: MaxTransferSize is 0 or
 *  above the NIC's.  VIP_INVALID_PTAG: not a tag of this NIC handle (NULL in strict mode).
 *  VIP_INVALID_RDMAREAD: EnableRdmaRead on an unreliable VI.  VIP_ERROR_RESOURCE: MaxVI or memory. */
VIPL_API VIP_RETURN VipCreateVi(IN VIP_NIC_HANDLE NicHandle, IN VIP_VI_ATTRIBUTES* ViAttribs,
                                IN VIP_CQ_HANDLE SendCQHandle, IN VIP_CQ_HANDLE RecvCQHandle,
                                OUT VIP_VI_HANDLE* ViHandle);

/** Destroys a VI; entries of it in completion queues vanish, pending notifications are cancelled.
 *  VIP_INVALID_STATE: not Idle.  VIP_ERROR_RESOURCE: descriptors are on its queues, or a connection call on it
 *  is under way in another thread.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipDestroyVi(IN VIP_VI_HANDLE ViHandle);

/** State, attributes, and whether the queues are empty (empty: no descriptor that Done could still
 *  return).  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipQueryVi(IN VIP_VI_HANDLE ViHandle, OUT VIP_VI_STATE* State, OUT VIP_VI_ATTRIBUTES* ViAttribs,
                               OUT VIP_BOOLEAN* ViSendQEmpty, OUT VIP_BOOLEAN* ViRecvQEmpty);

/** Changes the attributes of an Idle VI.  VIP_INVALID_STATE: not Idle; otherwise as VipCreateVi. */
VIPL_API VIP_RETURN VipSetViAttributes(IN VIP_VI_HANDLE ViHandle, IN VIP_VI_ATTRIBUTES* ViAttribs);

/* ---- connection: client and server -------------------------------------------------------- */

/** Waits up to Timeout (0: only looks) for a request to LocalAddr, which is this NIC's host address
 *  and a discriminator of up to MaxDiscriminatorLen bytes.  On success RemoteAddr holds the
 *  requester's local address and discriminator (up to 4 + 6 + 64 bytes), RemoteViAttribs its
 *  attributes (Ptag NULL), and ConnHandle wants an answer: Accept or Reject.
 *  While nobody waits for an address, and no request taken from it is open, requests get VIP_NO_MATCH.
 *  VIP_TIMEOUT; VIP_INVALID_PARAMETER: NULL, bad NIC, wrong host address, discriminator too long;
 *  VIP_ERROR_RESOURCE: another process or NIC handle waits for that address, or no memory. */
VIPL_API VIP_RETURN VipConnectWait(IN VIP_NIC_HANDLE NicHandle, IN VIP_NET_ADDRESS* LocalAddr, IN VIP_ULONG Timeout,
                                   OUT VIP_NET_ADDRESS* RemoteAddr, OUT VIP_VI_ATTRIBUTES* RemoteViAttribs,
                                   OUT VIP_CONN_HANDLE* ConnHandle);

/** Connects the requester with an Idle VI of the same NIC handle and consumes ConnHandle.
 *  VIP_INVALID_RELIABILITY_LEVEL, VIP_INVALID_MTU, VIP_INVALID_QOS: the VIs differ in that attribute; the
 *  request stays open, for another try or for VipConnectReject.  VIP_INVALID_STATE: VI not Idle (the
 *  request stays open).  VIP_TIMEOUT: the requester has gone; ConnHandle is consumed.
 *  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipConnectAccept(IN VIP_CONN_HANDLE ConnHandle, IN VIP_VI_HANDLE ViHandle);

/** Refuses the request and consumes ConnHandle.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipConnectReject(IN VIP_CONN_HANDLE ConnHandle);

/** Connects an Idle VI to a server that waits for RemoteAddr and blocks until it answers; the VI is in
 *  state Connect Pending meanwhile.  LocalAddr is shown to the server.  On success RemoteViAttribs
 *  holds the peer's attributes (Ptag NULL).
 *  VIP_NO_MATCH: nobody waits there; at once, unless VINIC_VIPL_CONNECT_GRACE says how long to go on
 *  asking.  VIP_REJECT.  VIP_TIMEOUT: no answer in time, or the server died.  VIP_INVALID_PARAMETER:
 *  also Timeout 0.  VIP_INVALID_STATE: VI not Idle, or VipDisconnect was called meanwhile.
 *  VIP_ERROR_RESOURCE: no room in the device. */
VIPL_API VIP_RETURN VipConnectRequest(IN VIP_VI_HANDLE ViHandle, IN VIP_NET_ADDRESS* LocalAddr,
                                      IN VIP_NET_ADDRESS* RemoteAddr, IN VIP_ULONG Timeout,
                                      OUT VIP_VI_ATTRIBUTES* RemoteViAttribs);

/** Ends the connection (or the attempt) and returns to Idle from any state.  Outstanding descriptors
 *  complete with VIP_STATUS_DESC_FLUSHED_ERROR behind those that had completed.  The peer goes to
 *  Error.  On an Idle VI it flushes what is posted and is otherwise harmless.  VIP_INVALID_PARAMETER.
 *  VIP_ERROR_RESOURCE: the peer is stopped inside a transfer, which cannot be ended; or this process is a
 *  forked child of the one that opened the NIC. */
VIPL_API VIP_RETURN VipDisconnect(IN VIP_VI_HANDLE ViHandle);

/* ---- connection: peer to peer ------------------------------------------------------------- */

/** Begins a connection with the VI whose request has RemoteAddr and LocalAddr the other way round,
 *  and returns with the VI in Connect Pending.
 *  VIP_INVALID_STATE: VI not Idle.  VIP_INVALID_PARAMETER: also Timeout 0.  VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipConnectPeerRequest(IN VIP_VI_HANDLE ViHandle, IN VIP_NET_ADDRESS* LocalAddr,
                                          IN VIP_NET_ADDRESS* RemoteAddr, IN VIP_ULONG Timeout);

/** How the request came out: VIP_NOT_DONE while it is pending, VIP_SUCCESS once connected (then
 *  RemoteViAttribs is filled); any other code ends the request and the VI is Idle again.
 *  VIP_TIMEOUT: the request's time is over.  VIP_INVALID_RELIABILITY_LEVEL, VIP_INVALID_MTU,
 *  VIP_INVALID_QOS: the VIs differ.  VIP_INVALID_STATE: no request was made, or its outcome was told
 *  before.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipConnectPeerDone(IN VIP_VI_HANDLE ViHandle, OUT VIP_VI_ATTRIBUTES* RemoteViAttribs);

/** As VipConnectPeerDone, but blocks until the request is no longer pending. */
VIPL_API VIP_RETURN VipConnectPeerWait(IN VIP_VI_HANDLE ViHandle, OUT VIP_VI_ATTRIBUTES* RemoteViAttribs);

/* ---- protection and memory ---------------------------------------------------------------- */

/** Makes a protection tag.  VIP_INVALID_PARAMETER, VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipCreatePtag(IN VIP_NIC_HANDLE NicHandle, OUT VIP_PROTECTION_HANDLE* Ptag);

/** VIP_ERROR_RESOURCE: a VI or memory carries the tag.  VIP_INVALID_PARAMETER: not a NIC.
 *  VIP_INVALID_PTAG: not a tag of it. */
VIPL_API VIP_RETURN VipDestroyPtag(IN VIP_NIC_HANDLE NicHandle, IN VIP_PROTECTION_HANDLE Ptag);

/** Registers Length bytes at VirtualAddress: any memory, any alignment, any number of times.  The
 *  memory stays the program's and must stay mapped until it is deregistered.  MemAttribs NULL: no
 *  tag, which serves every VI of the NIC handle (strict mode refuses it), and no RDMA.
 *  VIP_INVALID_PARAMETER: NULL, length 0, or memory that is not mapped.  VIP_INVALID_PTAG.
 *  VIP_ERROR_RESOURCE: a limit of VipQueryNic. */
VIPL_API VIP_RETURN VipRegisterMem(IN VIP_NIC_HANDLE NicHandle, IN VIP_PVOID VirtualAddress, IN VIP_ULONG Length,
                                   IN VIP_MEM_ATTRIBUTES* MemAttribs, OUT VIP_MEM_HANDLE* MemHandle);

/** Ends a registration; no transfer touches the memory after return.  VirtualAddress is the one that
 *  was registered.  Descriptors that still name the memory complete with a protection error.
 *  VIP_INVALID_PARAMETER: no such registration.  VIP_ERROR_RESOURCE: a transfer into it does not end
 *  (its initiator is stopped); the handle is dead already, the call may be repeated. */
VIPL_API VIP_RETURN VipDeregisterMem(IN VIP_NIC_HANDLE NicHandle, IN VIP_PVOID VirtualAddress,
                                     IN VIP_MEM_HANDLE MemHandle);

/** Attributes of the region that Address lies in.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipQueryMem(IN VIP_NIC_HANDLE NicHandle, IN VIP_PVOID Address, IN VIP_MEM_HANDLE MemHandle,
                                OUT VIP_MEM_ATTRIBUTES* MemAttribs);

/** Changes tag and rights of a registration; transfers under way end under the old ones.
 *  VIP_INVALID_PARAMETER, VIP_INVALID_PTAG, VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipSetMemAttributes(IN VIP_NIC_HANDLE NicHandle, IN VIP_PVOID Address, IN VIP_MEM_HANDLE MemHandle,
                                        IN VIP_MEM_ATTRIBUTES* MemAttribs);

/* ---- data transfer ------------------------------------------------------------------------ */

/** Posts a send, an RDMA write or an RDMA read.  MemHandle names the memory that the descriptor itself
 *  lies in.  VIP_SUCCESS does not say that the descriptor is good: what is wrong inside it is told by
 *  its status, and what keeps it from being queued at all (alignment, MemHandle) by the asynchronous
 *  error VIP_ERROR_POST_DESC.  Not Connected: completes at once with VIP_STATUS_DESC_FLUSHED_ERROR.
 *  VIP_INVALID_PARAMETER: VI or NULL.  VIP_ERROR_RESOURCE, with asynchronous VIP_ERROR_VI_OVERRUN:
 *  MaxDescriptorsPerQueue descriptors are queued; this one is not. */
VIPL_API VIP_RETURN VipPostSend(IN VIP_VI_HANDLE ViHandle, IN VIP_DESCRIPTOR* DescriptorPtr,
                                IN VIP_MEM_HANDLE MemHandle);

/** Takes the oldest send descriptor if it is complete.  Never blocks.
 *  VIP_SUCCESS: complete, *DescriptorPtr is it.  VIP_DESCRIPTOR_ERROR: complete with an error in its
 *  Status; or, with *DescriptorPtr NULL, the queue is empty.  VIP_NOT_DONE: still under way
 *  (*DescriptorPtr NULL).  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipSendDone(IN VIP_VI_HANDLE ViHandle, OUT VIP_DESCRIPTOR** DescriptorPtr);

/** As VipSendDone, but waits up to Timeout ms for the oldest descriptor to complete; then
 *  VIP_TIMEOUT.  An empty queue is told at once.  Also allowed on a queue with a CQ. */
VIPL_API VIP_RETURN VipSendWait(IN VIP_VI_HANDLE ViHandle, IN VIP_ULONG Timeout, OUT VIP_DESCRIPTOR** DescriptorPtr);

/** Calls Handler once, in a thread of the provider, with the oldest send descriptor when it is
 *  complete (also with an error); it has left the queue then.  Several registrations are served in
 *  order.  VIP_INVALID_PARAMETER: VI, NULL handler, or a queue that has a CQ.  VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipSendNotify(IN VIP_VI_HANDLE ViHandle, IN VIP_PVOID Context, IN VIP_VI_CALLBACK Handler);

/** Posts a receive; legal in every state, and kept until the VI is connected.  In Error it completes at
 *  once with VIP_STATUS_DESC_FLUSHED_ERROR.  Otherwise as VipPostSend. */
VIPL_API VIP_RETURN VipPostRecv(IN VIP_VI_HANDLE ViHandle, IN VIP_DESCRIPTOR* DescriptorPtr,
                                IN VIP_MEM_HANDLE MemHandle);

/** As VipSendDone, for the receive queue. */
VIPL_API VIP_RETURN VipRecvDone(IN VIP_VI_HANDLE ViHandle, OUT VIP_DESCRIPTOR** DescriptorPtr);

/** As VipSendWait, for the receive queue. */
VIPL_API VIP_RETURN VipRecvWait(IN VIP_VI_HANDLE ViHandle, IN VIP_ULONG Timeout, OUT VIP_DESCRIPTOR** DescriptorPtr);

/** As VipSendNotify, for the receive queue. */
VIPL_API VIP_RETURN VipRecvNotify(IN VIP_VI_HANDLE ViHandle, IN VIP_PVOID Context, IN VIP_VI_CALLBACK Handler);

/* ---- completion queues -------------------------------------------------------------------- */

/** Makes a completion queue.  EntryCount (from 1 to MaxCQEntries) is the least it must hold; it never
 *  loses an entry, however many come.  VIP_INVALID_PARAMETER, VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipCreateCQ(IN VIP_NIC_HANDLE NicHandle, IN VIP_ULONG EntryCount, OUT VIP_CQ_HANDLE* CQHandle);

/** VIP_ERROR_RESOURCE: a VI uses it.  VIP_INVALID_PARAMETER.  Pending notifications are cancelled. */
VIPL_API VIP_RETURN VipDestroyCQ(IN VIP_CQ_HANDLE CQHandle);

/** Changes EntryCount while the queue is in use.  VIP_INVALID_PARAMETER, VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipResizeCQ(IN VIP_CQ_HANDLE CQHandle, IN VIP_ULONG EntryCount);

/** Takes the oldest entry: a descriptor of that queue of that VI is complete, and VipRecvDone or
 *  VipSendDone on the VI returns it.  RecvQueue: VIP_TRUE for its receive queue.
 *  VIP_NOT_DONE (*ViHandle NULL): no entry.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipCQDone(IN VIP_CQ_HANDLE CQHandle, OUT VIP_VI_HANDLE* ViHandle, OUT VIP_BOOLEAN* RecvQueue);

/** As VipCQDone, but waits up to Timeout ms for an entry; then VIP_TIMEOUT. */
VIPL_API VIP_RETURN VipCQWait(IN VIP_CQ_HANDLE CQHandle, IN VIP_ULONG Timeout, OUT VIP_VI_HANDLE* ViHandle,
                              OUT VIP_BOOLEAN* RecvQueue);

/** Calls Handler once, in a thread of the provider, with the oldest entry, as soon as there is one; the
 *  entry is removed.  Several registrations are served in order.
 *  VIP_INVALID_PARAMETER: CQ or NULL handler.  VIP_ERROR_RESOURCE. */
VIPL_API VIP_RETURN VipCQNotify(IN VIP_CQ_HANDLE CQHandle, IN VIP_PVOID Context, IN VIP_CQ_CALLBACK Handler);

/* ---- management and errors ---------------------------------------------------------------- */

/** InfoType VIP_SMI_AUTODISCOVERY: SysManInfo is a VIP_AUTODISCOVERY_LIST; the addresses are this NIC's
 *  and those of the name service.  VIP_INVALID_PARAMETER; VIP_ERROR_NOT_SUPPORTED: another InfoType;
 *  VIP_ERROR_RESOURCE: ADAddrArray is too small (what fits is there, NumAdAddrs says how many there are). */
VIPL_API VIP_RETURN VipQuerySystemManagementInfo(IN VIP_NIC_HANDLE NicHandle, IN VIP_ULONG InfoType,
                                                 OUT VIP_PVOID SysManInfo);

/** Says who hears of asynchronous errors: errors of the NIC handle that no descriptor can carry.
 *  Handler runs in a thread of the provider, one error at a time, with no lock held; its argument is
 *  valid during the call.  NULL brings back the default handler, which writes a line to stderr.  The previous one no
 *  longer runs when this returns (but in itself).  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipErrorCallback(IN VIP_NIC_HANDLE NicHandle, IN VIP_PVOID Context, IN VIP_ERROR_HANDLER Handler);

/* ---- name service ------------------------------------------------------------------------- */

/** Begins the name service: reads the environment table and the hosts file (docs/vipl.md).  NSInitInfo:
 *  NULL, or the name of a hosts file.  May be called again.
 *  VIP_INVALID_PARAMETER; VIP_ERROR_NAMESERVICE: the table or file is malformed, or the named file cannot be read. */
VIPL_API VIP_RETURN VipNSInit(IN VIP_NIC_HANDLE NicHandle, IN VIP_PVOID NSInitInfo);

/** Looks up address number NameIndex (from 0) of a host: HostAddressLen and the host address are
 *  written, the discriminator is left alone.  Works without VipNSInit too, with the default tables.
 *  VIP_INVALID_PARAMETER; VIP_ERROR_NAMESERVICE: no such name or index, or the tables are malformed. */
VIPL_API VIP_RETURN VipNSGetHostByName(IN VIP_NIC_HANDLE NicHandle, IN VIP_CHAR* Name, OUT VIP_NET_ADDRESS* Address,
                                       IN VIP_ULONG NameIndex);

/** The first name of a host address, with its NUL.  NameLen: room in Name in bytes, then the name's
 *  length without the NUL.  VIP_INVALID_PARAMETER; VIP_ERROR_RESOURCE: no room (NameLen says how long the
 *  name is, Name is untouched); VIP_ERROR_NAMESERVICE: unknown address. */
VIPL_API VIP_RETURN VipNSGetHostByAddr(IN VIP_NIC_HANDLE NicHandle, IN VIP_NET_ADDRESS* Address, OUT VIP_CHAR* Name,
                                       IN OUT VIP_ULONG* NameLen);

/** Ends the name service; look-ups read the tables anew.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipNSShutdown(IN VIP_NIC_HANDLE NicHandle);

/* ---- extensions of one historical provider ------------------------------------------------ */

/** What VipSetUserData gave; NULL before that and for a bad handle. */
VIPL_API VIP_PVOID VipGetUserData(IN VIP_VI_HANDLE ViHandle);

/** Keeps a pointer for the program with the VI.  A bad handle is ignored. */
VIPL_API void VipSetUserData(IN VIP_VI_HANDLE ViHandle, IN VIP_PVOID UserData);

/** Not offered: VIP_ERROR_NOT_SUPPORTED, or VIP_INVALID_PARAMETER for a bad CQ. */
VIPL_API VIP_RETURN VipAddTagCQ(IN VIP_CQ_HANDLE CQHandle, IN OUT VIP_EVENT_HANDLE* Event, IN VIP_ULONG Tag,
                                IN VIP_ULONG Priority);

/** Not offered: VIP_ERROR_NOT_SUPPORTED, or VIP_INVALID_PARAMETER for a bad CQ. */
VIPL_API VIP_RETURN VipRemoveTagCQ(IN VIP_CQ_HANDLE CQHandle, IN VIP_EVENT_HANDLE Event, IN VIP_ULONG Tag);

/** Sends are never deferred here: VIP_SUCCESS with *SendsDeferred VIP_FALSE.  VIP_INVALID_PARAMETER. */
VIPL_API VIP_RETURN VipPostDeferredSends(IN VIP_VI_HANDLE ViHandle, IN VIP_BOOLEAN EnableInterrupt,
                                         IN OUT VIP_BOOLEAN* SendsDeferred);

#ifdef __cplusplus
}
#endif

#endif
