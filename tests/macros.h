/* What <X11/Xlib.h> and <windows.h> define that could be in the way of a C++ header. */
#define Status int
#define Bool int
#define True 1
#define False 0
#define None 0L
#define Always 2
#define Success 0
#define Unsorted 0
#define Complex 0
#define Above 0
#define Below 1
#define KeyPress 2
#define FocusIn 9
#define CurrentTime 0L
#define NoValue 0x0000
#define DefaultScreen(display) 0

#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define ERROR 0
#define DELETE 0x00010000L
#define OPTIONAL
#define IN
#define OUT
#define CONST const
#define VOID void
#define TRUE 1
#define FALSE 0
#define near
#define far
#define small char
#define interface struct
#define GetObject GetObjectW
#define GetMessage GetMessageW
#define SendMessage SendMessageW
#define Yield()
