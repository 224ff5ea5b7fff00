// Copies up to 8,191 bytes through an AXI4 master of any width: first all reads, then all writes, one burst at a time, in
// beats of 2^size bytes. Lanes without a strobe carry rubbish.
//
//      word 0  source            word 2  bits 12:0 length, 18:16 size, 31:24 the most beats of a burst, less one
//      word 1  destination       word 3  a write starts it; bit 0: it is at work, bits 3:2: the worst response
//
// `fault` breaks one rule of the bus:
//
//      1 bursts across 4 KiB   3 WLAST missing        5 the top bit of ARADDR changes   7 not INCR              9 top byte of WDATA
//      2 WLAST early           4 WVALID withdrawn     6 a strobe before the beat        8 beats above the bus  10 ARVALID withdrawn
module mover #(
    parameter DATA = 64,
    parameter ADDRESS = 64
) (
    input  wire                clk,
    input  wire                rst_n,
    input  wire [3:0]          fault,

    input  wire                write,
    input  wire [1:0]          word,
    input  wire [63:0]         data,
    input  wire [7:0]          strobe,
    output reg  [63:0]         value,
    output reg                 done,

    output wire [ADDRESS-1:0]  araddr,
    output wire [7:0]          arlen,
    output wire [2:0]          arsize,
    output wire [1:0]          arburst,
    output wire                arvalid,
    input  wire                arready,
    input  wire [DATA-1:0]     rdata,
    input  wire [1:0]          rresp,
    input  wire                rlast,
    input  wire                rvalid,
    output wire                rready,
    output wire [ADDRESS-1:0]  awaddr,
    output wire [7:0]          awlen,
    output wire [2:0]          awsize,
    output wire [1:0]          awburst,
    output wire                awvalid,
    input  wire                awready,
    output reg  [DATA-1:0]     wdata,
    output reg  [DATA/8-1:0]   wstrb,
    output wire                wlast,
    output wire                wvalid,
    input  wire                wready,
    input  wire [1:0]          bresp,
    input  wire                bvalid,
    output wire                bready
);

  localparam BYTES = DATA / 8;
  localparam WIDEST = $clog2(BYTES);
  localparam [2:0] IDLE = 3'd0, READ = 3'd1, READING = 3'd2, WRITE = 3'd3, WRITING = 3'd4, ANSWER = 3'd5;

  reg  [2:0]  state;
  reg  [63:0] source, destination;
  reg  [12:0] length;
  reg  [2:0]  size;
  reg  [7:0]  most;
  reg  [1:0]  response;
  reg         toggle;

  reg  [7:0]  cells [0:8191];
  // The next byte: its address, its index in `cells`, how many follow, and how many of them are in this burst.
  reg  [63:0] at;
  reg  [12:0] index, left, in_burst;
  reg  [8:0]  beats;

  // The burst that starts at `at`.
  wire [12:0] beat_bytes = 13'd1 << size;
  wire [12:0] beat_mask = beat_bytes - 13'd1;
  wire [12:0] skew = at[12:0] & beat_mask;
  wire [21:0] longest = ({14'd0, most} + 22'd1) * {9'd0, beat_bytes} - {9'd0, skew};
  wire [12:0] to_boundary = 13'd4096 - {1'b0, at[11:0]};
  wire [12:0] limit = fault != 4'd1 && to_boundary < left ? to_boundary : left;
  wire [12:0] bytes = {9'd0, limit} < longest ? limit : longest[12:0];
  wire [13:0] span = {1'b0, bytes} + {1'b0, skew} + {1'b0, beat_mask};
  wire [13:0] needed = span >> size;

  // The beat that starts at `at`.
  wire [12:0] to_end = beat_bytes - skew;
  wire [12:0] count = to_end < in_burst ? to_end : in_burst;
  wire [12:0] lane = at[12:0] & (BYTES[12:0] - 13'd1);

  wire [63:0] top = {63'd0, toggle && fault == 4'd5} << (ADDRESS - 1);
  assign araddr = at[ADDRESS-1:0] ^ top[ADDRESS-1:0];
  assign arlen = needed[7:0] - 8'd1;
  assign arsize = size;
  assign arburst = 2'b01;
  assign arvalid = state == READ && !(fault == 4'd10 && toggle);
  assign rready = state == READING;
  assign awaddr = at[ADDRESS-1:0];
  assign awlen = needed[7:0] - 8'd1;
  assign awsize = fault == 4'd8 ? WIDEST[2:0] + 3'd1 : size;
  assign awburst = {1'b0, fault != 4'd7};
  assign awvalid = state == WRITE;
  assign wlast = fault == 4'd2 ? beats <= 9'd2 : fault != 4'd3 && beats == 9'd1;
  assign wvalid = state == WRITING && !(fault == 4'd4 && toggle);
  assign bready = state == ANSWER;

  wire [63:0] merged = merge(word == 2'd0 ? source : destination);

  integer i;
  always @* begin
    for (i = 0; i < BYTES; i = i + 1) begin
      wstrb[i] = i[12:0] >= lane && i[12:0] < lane + count;
      wdata[8*i+:8] = wstrb[i] ? cells[index+i[12:0]-lane] : 8'ha5;
      if (fault == 4'd6 && i[12:0] + 13'd1 == lane) wstrb[i] = 1'b1;
    end
    if (fault == 4'd9) wdata[DATA-1] = wdata[DATA-1] ^ toggle;
  end

  always @* begin
    case (word)
      2'd0: value = source;
      2'd1: value = destination;
      2'd2: value = {32'd0, most, 5'd0, size, 3'd0, length};
      2'd3: value = {60'd0, response, 1'b0, state != IDLE};
    endcase
  end

  integer j;
  always @(posedge clk) begin
    done <= 1'b0;
    // A design without a fault comes to rest.
    toggle <= rst_n && fault != 4'd0 && !toggle;
    if (!rst_n) begin
      state <= IDLE;
      response <= 2'd0;
    end else begin
      case (state)
        READ: if (arvalid && arready) begin
          state <= READING;
          in_burst <= bytes;
        end
        READING: if (rvalid) begin
          for (j = 0; j < BYTES; j = j + 1)
            if (j[12:0] >= lane && j[12:0] < lane + count) cells[index+j[12:0]-lane] <= rdata[8*j+:8];
          if (rresp > response) response <= rresp;
          advance;
          if (rlast) state <= left == count ? WRITE : READ;
          if (rlast && left == count) begin
            at <= destination;
            index <= 13'd0;
            left <= length;
          end
        end
        WRITE: if (awready) begin
          state <= WRITING;
          in_burst <= bytes;
          beats <= needed[8:0];
        end
        WRITING: if (wvalid && wready) begin
          advance;
          beats <= beats - 9'd1;
          if (beats == 9'd1) state <= ANSWER;
        end
        ANSWER: if (bvalid) begin
          if (bresp > response) response <= bresp;
          state <= left == 13'd0 ? IDLE : WRITE;
          done <= left == 13'd0;
        end
        default: ;
      endcase
      if (write && state == IDLE)
        case (word)
          2'd0: source <= merged;
          2'd1: destination <= merged;
          2'd2: {most, size, length} <= {data[31:24], data[18:16], data[12:0]};
          2'd3: if (length != 13'd0) begin
            state <= READ;
            response <= 2'd0;
            at <= source;
            index <= 13'd0;
            left <= length;
          end
        endcase
    end
  end

  task advance;
    begin
      at <= at + {51'd0, count};
      index <= index + count;
      left <= left - count;
      in_burst <= in_burst - count;
    end
  endtask

  function [63:0] merge(input [63:0] old);
    integer k;
    for (k = 0; k < 8; k = k + 1) merge[8*k+:8] = strobe[k] ? data[8*k+:8] : old[8*k+:8];
  endfunction

endmodule
