/* SPDX-License-Identifier: Apache-2.0
 *
 * vipl.c -- an outside C program that finds vipl.h and libvipl, and asks the NIC who it is.
 */
#include <stdio.h>
#include <vipl.h>

int main(void) {
    VIP_NIC_HANDLE nic = NULL;
    VIP_NIC_ATTRIBUTES about;
    if (VipOpenNic("/dev/consumer_vipl", &nic) != VIP_SUCCESS || VipQueryNic(nic, &about) != VIP_SUCCESS) {
        return 1;
    }
    printf("%s: %lu descriptors per queue\n", about.Name, about.MaxDescriptorsPerQueue);
    return VipCloseNic(nic) == VIP_SUCCESS ? 0 : 1;
}
